//! The NetworkPolicy: executors of a job talk to each other, the operator asks them for reports, nobody else gets in.

use super::{ValidatedJob, metadata};
use crate::names;
use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use lockstep_crds::executor::{HEALTH_PORT, PEER_PORT, STATUS_PORT};
use std::collections::BTreeMap;

/// Builds the policy. Outgoing traffic stays free: storage may be anywhere.
///
/// `operator_namespace` is None for an operator outside the cluster; it asks from an address nobody knows here, and the
/// job's own TLS identity is what keeps others out.
pub(super) fn build(job: &ValidatedJob, operator_namespace: Option<&str>) -> NetworkPolicy {
    let executors =
        NetworkPolicyPeer { pod_selector: Some(select(names::selector(&job.name))), ..Default::default() };
    let operator = operator_namespace.map(|namespace| NetworkPolicyPeer {
        namespace_selector: Some(select(pair(names::NAMESPACE_LABEL, namespace))),
        pod_selector: Some(select(pair("app.kubernetes.io/name", names::OPERATOR_APP))),
        ..Default::default()
    });
    NetworkPolicy {
        metadata: metadata(job, job.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(names::selector(&job.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { from: Some(vec![executors]), ports: Some(vec![port(PEER_PORT)]) },
                NetworkPolicyIngressRule {
                    from: operator.map(|peer| vec![peer]),
                    ports: Some(vec![port(STATUS_PORT)]),
                },
                // Kubelets and whoever collects metrics: plain HTTP that tells nothing worth protecting.
                NetworkPolicyIngressRule { from: None, ports: Some(vec![port(HEALTH_PORT)]) },
            ]),
            egress: None,
        }),
    }
}

fn select(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn pair(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn port(port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::resources;
    use lockstep_crds::executor::{PEER_PORT, STATUS_PORT};
    use serde_json::{Value, json};

    fn rule(port: u16) -> Value {
        let policy = serde_json::to_value(resources(json!({})).network_policy).unwrap();
        let rules = policy["spec"]["ingress"].as_array().unwrap().clone();
        rules.into_iter().find(|rule| rule["ports"][0]["port"] == port).unwrap()
    }

    #[test]
    fn only_executors_of_the_job_reach_the_peer_port() {
        let rule = rule(PEER_PORT);
        assert_eq!(rule["from"].as_array().unwrap().len(), 1);
        assert_eq!(rule["from"][0]["podSelector"]["matchLabels"]["lockstep.dev/job-name"], "cifar10");
        assert_eq!(rule["from"][0].get("namespaceSelector"), None, "the job's own namespace only");
    }

    #[test]
    fn only_the_operator_reaches_the_status_port() {
        let rule = rule(STATUS_PORT);
        assert_eq!(
            rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            "lockstep-system"
        );
        assert_eq!(
            rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
            "lockstep-operator"
        );
    }
}
