//! Whether sockpick named, for each request, the listener of the service that answered it.

use serde_json::Value;

use super::record::{Record, Request, Step};

/// The comparison of a run.
#[derive(Debug)]
pub(super) struct Judged {
    /// In the order of the requests.
    pub(super) lines: Vec<Line>,
    /// Events that belong to no request.
    pub(super) strangers: usize,
}

/// One request.
#[derive(Debug)]
pub(super) struct Line {
    /// What sockpick says of it: LISTENER and verdict, then MEMBER and OWNER.
    pub(super) cells: Option<[String; 4]>,
    /// What is wrong with that, or with the event.
    pub(super) problem: Option<String>,
}

impl Judged {
    pub(super) fn agreeing(&self) -> usize {
        let agree = |line: &&Line| line.problem.is_none();
        self.lines.iter().filter(agree).count()
    }

    pub(super) fn all_agree(&self) -> bool {
        self.agreeing() == self.lines.len() && self.strangers == 0
    }
}

pub(super) fn judge(record: &Record) -> Judged {
    let mut lines = Vec::new();
    for step in &record.steps {
        lines.extend(step.requests.iter().map(|request| Line {
            cells: shown(record, request),
            problem: problem(record, step, request).err(),
        }));
    }
    // A lost record is a stranger too: it names no client.
    let known = |event: &&Value| {
        let port = event["client"]["port"].as_u64();
        record
            .requests()
            .any(|request| Some(u64::from(request.client_port)) == port)
    };
    // What sums a group up is about no request in particular.
    let summing = |event: &&Value| event.get("health").is_some();
    let about = record.events.iter().filter(|event| !summing(event));
    let strangers = about.filter(|event| !known(event)).count();
    Judged { lines, strangers }
}

fn problem(record: &Record, step: &Step, request: &Request) -> Result<(), String> {
    let service = step
        .services
        .iter()
        .find(|service| service.name == request.service && service.pids.contains(&request.pid))
        .ok_or("answered by a process of no service")?;
    let events: Vec<_> = record
        .events
        .iter()
        .filter(|event| event["client"]["port"].as_u64() == Some(request.client_port.into()))
        .collect();
    let &[event] = events.as_slice() else {
        return Err(format!("{} events instead of one", events.len()));
    };
    let listener = &event["listener"];
    let named = endpoint(listener);
    if named != service.listens {
        return Err(format!("the event names {named}"));
    }
    let owners = listener["owners"].as_array();
    let mut pids = owners.into_iter().flatten().map(|owner| &owner["pid"]);
    if !pids.any(|pid| pid.as_u64().is_some_and(|pid| service.pids.contains(&pid))) {
        let name = &service.name;
        return Err(format!("no owner in the event is a process of {name}"));
    }
    // Whoever answers another's request is an alert, and nothing else is.
    let alert = matches!(event["verdict"].as_str(), Some("misdirected" | "uncovered"));
    match (alert, step.whose == request.service) {
        (true, true) => return Err(format!("a false alert: {}", verdict(event))),
        (false, false) => return Err(format!("no alert but {}", verdict(event))),
        _ => {}
    }
    match cells(record, request) {
        Some([shown, ..]) if shown == named => Ok(()),
        Some([shown, ..]) => Err(format!("the table names {shown}")),
        None => Err("no line in the table".to_owned()),
    }
}

/// Verdict and reason.
fn verdict(event: &Value) -> String {
    let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    format!("{} {}", word("verdict"), word("reason"))
        .trim_end()
        .to_owned()
}

/// The table's cells, with the verdict in place of match and via.
fn shown(record: &Record, request: &Request) -> Option<[String; 4]> {
    let event = record
        .events
        .iter()
        .find(|event| event["client"]["port"].as_u64() == Some(request.client_port.into()))?;
    let [listener, _, member, owner] = cells(record, request)?;
    Some([listener, verdict(event), member, owner])
}

/// As the table and nginx's configuration write it.
fn endpoint(listener: &Value) -> String {
    let device = listener["device"].as_str();
    let device = device.map_or(String::new(), |device| format!("%{device}"));
    match (listener["address"].as_str(), listener["port"].as_u64()) {
        (Some("0.0.0.0"), Some(port)) => format!("*{device}:{port}"),
        (Some(address), Some(port)) => format!("{address}{device}:{port}"),
        _ => "no listener".to_owned(),
    }
}

/// The end of the table's line for a request; its columns are at least two blanks apart.
fn cells(record: &Record, request: &Request) -> Option<[String; 4]> {
    let client = format!(":{} → ", request.client_port);
    let line = record.table.iter().find(|line| line.contains(&client))?;
    let words = line
        .split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty());
    let words: Vec<_> = words.skip(2).map(ToOwned::to_owned).collect();
    words.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Judged, Record, judge};

    const EVENT: &str = r#"@event {"client":{"port":40312},"verdict":"ok","listener":{"address":"6.6.6.6","port":80,"owners":[{"pid":7}]}}"#;
    const ROW: &str = "@table 14:13:20.123  203.0.113.7:40312 → 6.6.6.6:80         6.6.6.6:80       \
                       exact reuseport_hash     [0]/2   nginx(8) +2";

    fn judged(answer: &str, reported: &[&str]) -> Judged {
        let mut lines = vec![
            "@step one",
            "@whose A",
            "@service A 6.6.6.6:80 7 8 9",
            "@service B *:80 4 5 6",
        ];
        lines.push(answer);
        lines.extend(reported);
        let lines: Vec<_> = lines.into_iter().map(ToOwned::to_owned).collect();
        judge(&Record::read(&lines).expect("a record"))
    }

    fn problem(answer: &str, reported: &[&str]) -> String {
        let judged = judged(answer, reported);
        assert!(!judged.all_agree());
        judged.lines[0].problem.clone().unwrap_or_default()
    }

    #[test]
    fn one_event_and_one_row_for_the_listener_that_answered_agree() {
        let judged = judged("@answer 200 A 40312 8", &[EVENT, ROW]);
        assert!(judged.all_agree(), "{judged:?}");
        let cells = judged.lines[0].cells.as_ref().expect("cells");
        assert_eq!(cells, &["6.6.6.6:80", "ok", "[0]/2", "nginx(8) +2"]);
    }

    #[test]
    fn whatever_differs_is_told() {
        let from_a = "@answer 200 A 40312 8";
        let from_b = "@answer 403 B 40312 5";
        assert_eq!(problem(from_b, &[EVENT, ROW]), "the event names 6.6.6.6:80");
        let alert = EVENT.replace("\"ok\"", "\"uncovered\",\"reason\":\"restart_gap\"");
        assert_eq!(
            problem(from_a, &[&alert, ROW]),
            "a false alert: uncovered restart_gap"
        );
        assert_eq!(problem(from_a, &[ROW]), "0 events instead of one");
        assert_eq!(
            problem(from_a, &[EVENT, EVENT, ROW]),
            "2 events instead of one"
        );
        assert_eq!(problem(from_a, &[EVENT]), "no line in the table");
        let row = ROW.replace("6.6.6.6:80   ", "*:80   ");
        assert_eq!(problem(from_a, &[EVENT, &row]), "the table names *:80");
        let event = EVENT.replace("\"pid\":7", "\"pid\":4");
        assert_eq!(
            problem(from_a, &[&event, ROW]),
            "no owner in the event is a process of A"
        );
        assert_eq!(
            problem("@answer 200 A 40312 77", &[EVENT, ROW]),
            "answered by a process of no service"
        );
        let lost = r#"@event {"schema":1,"lost":1,"stage":"queue"}"#;
        assert_eq!(problem(from_a, &[EVENT, ROW, lost]), "");
    }
}
