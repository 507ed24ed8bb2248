//! What the executors need to reach HDFS and S3: the user's ConfigMap and Secrets as files and variables of the pod.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EnvFromSource, EnvVar, SecretEnvSource, SecretVolumeSource, Volume, VolumeMount,
};
use lockstep_crds::{
    executor::{
        ENV_HADOOP_CONF_DIR, ENV_KERBEROS_DIR, ENV_KRB5_CONFIG, HADOOP_DIR, KERBEROS_DIR, KRB5_CONFIG,
    },
    spec::Storage,
};

const HADOOP_VOLUME: &str = "lockstep-hadoop";
const KERBEROS_VOLUME: &str = "lockstep-kerberos";

/// Parts of the pod.
#[derive(Debug, Default)]
pub(super) struct StorageParts {
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
    pub(super) env: Vec<EnvVar>,
    pub(super) env_from: Vec<EnvFromSource>,
}

/// The parts that `storage` asks for.
pub(super) fn parts(storage: &Storage) -> StorageParts {
    let mut parts = StorageParts::default();
    if let Some(config_map) = &storage.hadoop_config_map_ref {
        parts.volumes.push(Volume {
            name: HADOOP_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: config_map.name.clone(), ..Default::default() }),
            ..Volume::default()
        });
        parts.mounts.push(mount(HADOOP_VOLUME, HADOOP_DIR));
        parts.env.push(variable(ENV_HADOOP_CONF_DIR, HADOOP_DIR));
    }
    if let Some(secret) = &storage.kerberos_secret_ref {
        parts.volumes.push(Volume {
            name: KERBEROS_VOLUME.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                default_mode: Some(0o440),
                ..Default::default()
            }),
            ..Volume::default()
        });
        parts.mounts.push(mount(KERBEROS_VOLUME, KERBEROS_DIR));
        parts.env.push(variable(ENV_KERBEROS_DIR, KERBEROS_DIR));
        parts.env.push(variable(ENV_KRB5_CONFIG, KRB5_CONFIG));
    }
    if let Some(secret) = &storage.s3_secret_ref {
        parts.env_from.push(EnvFromSource {
            secret_ref: Some(SecretEnvSource { name: secret.name.clone(), optional: None }),
            ..EnvFromSource::default()
        });
    }
    parts
}

fn mount(volume: &str, folder: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}
