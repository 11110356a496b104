//! What the scenarios found out about each kernel, for docs/kernel-support.md.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::guests::Column;
use crate::artifacts;
use crate::process::workspace_root;

const BEGIN: &str = "<!-- generated: cargo xtask test -->";
const END: &str = "<!-- end generated -->";

/// Keeps the reports, and writes the page if every kernel gave one.
pub(super) fn publish(columns: &[Column]) -> Result<()> {
    let folder = artifacts::folder()?.join("reports");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut reports = Vec::new();
    for column in columns {
        let Some(text) = &column.report else { continue };
        let path = folder.join(format!("{}.json", column.kernel));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let report: Value = serde_json::from_str(text)
            .with_context(|| format!("the REPORT line of kernel {} is no JSON", column.kernel))?;
        reports.push((column.kernel.as_str(), report));
    }
    if reports.len() < columns.len() {
        eprintln!("note: docs/kernel-support.md is left as it is: not every kernel gave a report");
        return Ok(());
    }
    let path = workspace_root()?.join("docs/kernel-support.md");
    let page = match fs::read_to_string(&path) {
        Ok(page) => page,
        Err(_) => format!("# Kernel support\n\n{BEGIN}\n{END}\n"),
    };
    let page = replace(&page, &table(&reports)).with_context(|| path.display().to_string())?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// The page with everything between the markers replaced.
fn replace(page: &str, content: &str) -> Result<String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        bail!("the page lacks the markers `{BEGIN}` and `{END}`, between which the table goes");
    };
    Ok(format!("{before}{BEGIN}\n{content}{END}{after}"))
}

fn table(reports: &[(&str, Value)]) -> String {
    let mut text = String::from(
        "| kernel | release tested | hook | fentry | kprobe | used |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, report) in reports {
        let release = cell(&report["kernel"]);
        for hook in report["hooks"].as_array().into_iter().flatten() {
            let [hook, fentry, kprobe, used] =
                ["hook", "fentry", "kprobe", "used"].map(|key| cell(&hook[key]));
            let _ = writeln!(
                text,
                "| {name} | {release} | `{hook}` | {fentry} | {kprobe} | {used} |"
            );
        }
    }
    text
}

fn cell(value: &Value) -> String {
    let text = value.as_str().unwrap_or("–");
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BEGIN, END, replace, table};

    #[test]
    fn only_the_part_between_the_markers_changes() {
        let page = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
        let page = replace(&page, "new\n").expect("the markers are there");
        assert_eq!(page, format!("# Title\n{BEGIN}\nnew\n{END}\nrest\n"));
        assert!(replace("no markers", "new").is_err());
    }

    #[test]
    fn every_hook_has_a_row() {
        let report = json!({"kernel": "6.12.1", "hooks": [
            {"hook": "lookup", "fentry": "works", "kprobe": "a|b", "used": "fentry"}
        ]});
        let text = table(&[("6.12", report)]);
        assert!(text.ends_with("| 6.12 | 6.12.1 | `lookup` | works | a\\|b | fentry |\n"));
    }
}
