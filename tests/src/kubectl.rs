//! kubectl and helm against the test cluster.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::Cluster;

/// kubectl in one namespace, or in none.
#[derive(Clone)]
pub struct Kubectl<'a> {
    cluster: &'a Cluster,
    namespace: Option<String>,
}

impl<'a> Kubectl<'a> {
    pub(crate) fn new(cluster: &'a Cluster, namespace: Option<String>) -> Self {
        Self { cluster, namespace }
    }

    /// The namespace, if it is in one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command("kubectl");
        if let Some(namespace) = &self.namespace {
            command.arg(format!("--namespace={namespace}"));
        }
        command.args(arguments);
        command
    }

    /// Runs kubectl, whether it succeeds or not.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().context("failed to run kubectl")
    }

    /// Runs kubectl and returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        succeeded(self.output(arguments)?, || format!("kubectl {}", arguments.join(" ")))
    }

    /// Runs kubectl with `input` on its standard input, whether it succeeds or not.
    pub fn output_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run kubectl")?;
        child.stdin.take().context("kubectl has no standard input")?.write_all(input.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Runs kubectl with `input` on its standard input and returns what it prints.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output_with_input(arguments, input)?;
        succeeded(output, || format!("kubectl {} of {input}", arguments.join(" ")))
    }

    /// Applies an object.
    pub fn apply(&self, object: &Value) -> Result<String> {
        self.run_with_input(&["apply", "--filename=-"], &object.to_string())
    }

    /// What the API server says when it refuses an object.
    ///
    /// # Errors
    /// When it does not refuse it.
    pub fn refusal(&self, object: &Value) -> Result<String> {
        let output =
            self.output_with_input(&["create", "--dry-run=server", "--filename=-"], &object.to_string())?;
        if output.status.success() {
            bail!("the API server accepted {object}");
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// One object, or `None` where there is none of that name.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.run(&["get", kind, name, "--ignore-not-found", "--output=json"])?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("kubectl printed no JSON for {kind} {name}"))
    }

    /// All objects of a kind with these labels (empty: all).
    pub fn list(&self, kind: &str, labels: &str) -> Result<Vec<Value>> {
        let text = self.run(&["get", kind, &format!("--selector={labels}"), "--output=json"])?;
        let mut list: Value = serde_json::from_str(&text)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("kubectl printed no list of {kind}"),
        }
    }
}

/// Runs helm and returns what it prints.
pub fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.command("helm").args(arguments).output().context("failed to run helm")?;
    succeeded(output, || format!("helm {}", arguments.join(" ")))
}

fn succeeded(output: Output, what: impl Fn() -> String) -> Result<String> {
    if !output.status.success() {
        bail!("{} failed ({}): {}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
