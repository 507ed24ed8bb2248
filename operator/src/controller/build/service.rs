//! The headless Service that gives each executor a name.

use super::{ValidatedJob, metadata};
use crate::names;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use lockstep_crds::executor::PEER_PORT;

/// Builds the Service, named as the job: peers are `<job>-<index>.<job>`.
pub(super) fn build(job: &ValidatedJob) -> Service {
    Service {
        metadata: metadata(job, job.name.clone()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // Executors are ready once they have met, and must find each other's names to meet.
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&job.name)),
            ports: Some(vec![ServicePort {
                name: Some("peers".to_owned()),
                port: PEER_PORT.into(),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::Int(PEER_PORT.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::resources;
    use serde_json::json;

    #[test]
    fn the_service_is_headless_and_names_pods_before_they_are_ready() {
        let service = resources(json!({})).service.spec.unwrap();
        assert_eq!(service.cluster_ip.as_deref(), Some("None"));
        assert_eq!(service.publish_not_ready_addresses, Some(true));
    }
}
