//! An S3 on loopback: moto from PyPI, which checks signatures and conditions as Amazon's does. It holds its objects in memory.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::machine;

/// A running server with one bucket and one user. Dropping it ends it; it also ends with this process.
pub struct S3 {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What the server said of itself.
    facts: Value,
}

impl S3 {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        let mut child = Command::new(environment()?.join("bin/python"))
            .arg(machine::repository().join("tests/python/s3_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A line for every request.
            .stderr(Stdio::null())
            .spawn()?;
        let (input, output) =
            (child.stdin.take().context("no stdin")?, child.stdout.take().context("no stdout")?);
        let mut server = Self { child, input, output: BufReader::new(output), facts: Value::Null };
        let facts = server.line()?;
        server.facts =
            serde_json::from_str(&facts).with_context(|| format!("S3 did not start: {facts:?}"))?;
        Ok(server)
    }

    /// `s3://bucket`, without a path.
    pub fn uri(&self) -> String {
        format!("s3://{}", self.fact("bucket"))
    }

    /// What a client needs in its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", self.fact("accessKeyId")),
            ("AWS_SECRET_ACCESS_KEY", self.fact("secretAccessKey")),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.facts["port"])),
            ("AWS_ALLOW_HTTP", "true".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Stops listening: whoever connects is refused.
    pub fn away(&mut self) -> Result<()> {
        self.command("away")
    }

    /// Listens again, with all that it holds.
    pub fn back(&mut self) -> Result<()> {
        self.command("back")
    }

    fn command(&mut self, word: &str) -> Result<()> {
        writeln!(self.input, "{word}")?;
        let answer = self.line()?;
        ensure!(answer == word, "S3 answered {answer:?} to {word:?}");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn fact(&self, name: &str) -> String {
        self.facts[name].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why S3 cannot run on this machine, if it cannot.
pub fn lacks() -> Option<String> {
    environment().err().map(|error| format!("{error:#}"))
}

fn environment() -> Result<PathBuf> {
    match std::env::var_os("LOCKSTEP_S3_ENV") {
        Some(folder) if !folder.is_empty() => Ok(folder.into()),
        _ => anyhow::bail!("LOCKSTEP_S3_ENV is not set (scripts/python-env.sh s3 prints its value)"),
    }
}
