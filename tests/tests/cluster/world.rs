//! What the tests share: the cluster, and, made when the first test asks for it, the product installed on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use lockstep_tests::cluster::Cluster;
use lockstep_tests::kubectl::helm;
use lockstep_tests::machine;
use serde_json::Value;

use crate::job;

/// The cluster and the product on it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    product: OnceLock<Result<Product, String>>,
}

/// The namespace that the chart is installed in.
pub(crate) const SYSTEM: &str = "lockstep-system";

/// Chart and images installed, data prepared, and the result that every run must reproduce.
pub(crate) struct Product {
    /// The data set as `lockstep prepare` made it: `train/` and `test/`.
    pub(crate) data: PathBuf,
    /// What `lockstep run` printed for the tests' job, in one process outside the cluster.
    pub(crate) reference: Value,
}

impl Product {
    /// The digest that every run of the job must end with.
    pub(crate) fn weights_sha256(&self) -> Result<&str> {
        self.reference["weightsSha256"].as_str().context("the reference has no weightsSha256")
    }
}

impl World {
    pub(crate) fn start() -> Result<Self> {
        let cluster = Cluster::start(Path::new(env!("CARGO_BIN_EXE_cluster")))?;
        Ok(Self { cluster, product: OnceLock::new() })
    }

    /// Deletes the operator's pods at once; its Deployment makes new ones.
    pub(crate) fn kill_operator(&self) -> Result<()> {
        let pods = ["delete", "pods", "--all", "--namespace", SYSTEM, "--grace-period=0", "--force"];
        self.cluster.kubectl().run(&pods).map(drop)
    }

    pub(crate) fn product(&self) -> Result<&Product> {
        let product = self.product.get_or_init(|| self.install().map_err(|error| format!("{error:#}")));
        product.as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn install(&self) -> Result<Product> {
        machine::script("images.sh", &[])?;
        for image in ["operator", "trainer", "trainer-libtorch"] {
            self.cluster.import(&machine::repository().join(format!("target/images/{image}.tar")))?;
        }
        let chart = machine::repository().join("charts/lockstep").display().to_string();
        let values = [
            "image.repository=localhost/lockstep-operator",
            "image.tag=dev",
            "trainer.image.repository=localhost/lockstep-trainer",
            "trainer.image.tag=dev",
            "trainer.libtorchImage.repository=localhost/lockstep-trainer-libtorch",
            "trainer.libtorchImage.tag=dev",
            // Training takes less than a minute here, and its progress is to be seen.
            "operator.progressInterval=500ms",
        ]
        .join(",");
        let mut install = vec!["upgrade", "--install", "lockstep", &chart, "--set", &values];
        install.extend(["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout=90s"]);
        if let Err(error) = helm(&self.cluster, &install) {
            let system = self.cluster.kubectl().run(&["get", "pods", "--namespace", SYSTEM, "--output=yaml"]);
            bail!("{error:#}\n{}", system.unwrap_or_default());
        }
        let data = self.prepare()?;
        let reference = self.reference("reference", &data, |_| {})?;
        Ok(Product { data, reference })
    }

    fn prepare(&self) -> Result<PathBuf> {
        let source = machine::script("data.sh", &["--slice"])?;
        let [kind, folder, description] = source.lines().collect::<Vec<_>>()[..] else {
            bail!("scripts/data.sh printed {source:?}");
        };
        eprintln!("data: {description}");
        let (data, _) = self.cluster.volume("data")?;
        lockstep(&["prepare", kind, folder, &data.display().to_string()])?;
        Ok(data)
    }

    /// What every run of the tests' job, changed by `edit`, must end with.
    pub(crate) fn reference_of(&self, name: &str, edit: impl FnOnce(&mut Value)) -> Result<Value> {
        self.reference(&format!("reference-{name}"), &self.product()?.data, edit)
    }

    /// One process, no cluster, the same job and data. `name`: of the volume for its checkpoints.
    fn reference(&self, name: &str, data: &Path, edit: impl FnOnce(&mut Value)) -> Result<Value> {
        let (volume, _) = self.cluster.volume(name)?;
        let manifest = volume.join("job.yaml");
        let mut job = job::on_this_machine(data, &volume)?;
        edit(&mut job);
        std::fs::write(&manifest, job.to_string())?;
        let text = lockstep(&[
            "run",
            "--json",
            "--fresh",
            "--executors",
            "1",
            "--file",
            &manifest.display().to_string(),
        ])?;
        let last = text.lines().last().context("lockstep run printed nothing")?;
        let result: Value = serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))?;
        eprintln!("reference: {result}");
        Ok(result)
    }
}

fn lockstep(arguments: &[&str]) -> Result<String> {
    let output = Command::new(machine::programs().join("lockstep"))
        .args(arguments)
        .env("LOCKSTEP_LOG", "warn")
        .output()
        .context("failed to run lockstep")?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success(),
        "lockstep {} failed ({}): {stderr}{stdout}",
        arguments.join(" "),
        output.status
    );
    Ok(stdout)
}
