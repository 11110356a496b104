//! What the guest's script reported, line by line.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Begins the line that names a step.
pub(super) const STEP: &str = "@step ";

/// The whole run.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// `uname -r`
    pub(super) kernel: String,
    pub(super) steps: Vec<Step>,
    /// Lines of `sockpick trace`, the heading included.
    pub(super) table: Vec<String>,
    /// What that said on stderr: a greeting and the summary.
    pub(super) messages: Vec<String>,
    /// Lines of `sockpick trace -o json`.
    pub(super) events: Vec<Value>,
}

/// A state of the services, and the requests made in it.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) title: String,
    /// The service that the requests belong to.
    pub(super) whose: String,
    pub(super) remarks: Vec<String>,
    pub(super) services: Vec<Service>,
    pub(super) requests: Vec<Request>,
}

/// A running service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Where it listens, as in its configuration.
    pub(super) listens: String,
    /// The process that called `listen()`, and the master and workers that inherited from it.
    pub(super) pids: Vec<u64>,
}

/// One request, as the answer tells: the process that accepted it wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) status: u16,
    pub(super) service: String,
    pub(super) client_port: u16,
    pub(super) pid: u64,
}

impl Record {
    /// Lines without a mark are whatever else was said in the guest.
    pub(super) fn read(lines: &[String]) -> Result<Self> {
        let mut record = Self::default();
        for line in lines {
            if let Some(marked) = line.strip_prefix('@') {
                let (mark, text) = marked.split_once(' ').unwrap_or((marked, ""));
                record
                    .add(mark, text)
                    .with_context(|| format!("the guest reported `{line}`"))?;
            }
        }
        if record.requests().next().is_none() {
            bail!("the guest made no request");
        }
        Ok(record)
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.steps.iter().flat_map(|step| &step.requests)
    }

    fn add(&mut self, mark: &str, text: &str) -> Result<()> {
        match mark {
            "kernel" => text.clone_into(&mut self.kernel),
            "step" => self.steps.push(Step {
                title: text.to_owned(),
                ..Step::default()
            }),
            "whose" => text.clone_into(&mut self.step()?.whose),
            "remark" => self.step()?.remarks.push(text.to_owned()),
            "service" => self.step()?.services.push(service(text)?),
            "answer" => self.step()?.requests.push(request(text)?),
            "table" => self.table.push(text.to_owned()),
            "messages" => self.messages.push(text.to_owned()),
            "event" => self.events.push(serde_json::from_str(text)?),
            _ => bail!("unknown mark"),
        }
        Ok(())
    }

    fn step(&mut self) -> Result<&mut Step> {
        self.steps.last_mut().context("before any step")
    }
}

/// `NAME LISTEN PID...`
fn service(text: &str) -> Result<Service> {
    let mut words = text.split_whitespace();
    let (Some(name), Some(listens)) = (words.next(), words.next()) else {
        bail!("not a service");
    };
    Ok(Service {
        name: name.to_owned(),
        listens: listens.to_owned(),
        pids: words.map(str::parse).collect::<Result<_, _>>()?,
    })
}

/// `STATUS NAME CLIENT-PORT PID`; nothing where no answer came.
fn request(text: &str) -> Result<Request> {
    let words: Vec<_> = text.split_whitespace().collect();
    let &[status, service, client_port, pid] = words.as_slice() else {
        bail!("a request was not answered by any service");
    };
    Ok(Request {
        status: status.parse()?,
        service: service.to_owned(),
        client_port: client_port.parse()?,
        pid: pid.parse()?,
    })
}
