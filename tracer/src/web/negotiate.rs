//! Which text format a client would rather have.

use crate::metrics::Format;

/// What `Accept` asks for: `OpenMetrics` if it is named and wanted no less than plain text, else
/// Prometheus' own.
pub(super) fn format(accept: Option<&str>) -> Format {
    let (mut open, mut plain) = (0, 0);
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let wanted = Wanted::read(parts);
        match media.as_str() {
            "application/openmetrics-text" if wanted.version_is("1.0.0") => {
                open = open.max(wanted.thousandths);
            }
            "text/plain" if wanted.version_is("0.0.4") => plain = plain.max(wanted.thousandths),
            "text/*" | "*/*" => plain = plain.max(wanted.thousandths),
            _ => {}
        }
    }
    if open > 0 && open >= plain {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

/// The parameters of a media range.
struct Wanted<'a> {
    thousandths: u16,
    version: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(parameters: impl Iterator<Item = &'a str>) -> Self {
        let mut wanted = Self {
            thousandths: 1000,
            version: None,
        };
        for parameter in parameters {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => wanted.thousandths = thousandths(value),
                "version" => wanted.version = Some(value),
                _ => {}
            }
        }
        wanted
    }

    /// Whether it asks for that version, or for any.
    fn version_is(&self, version: &str) -> bool {
        self.version.is_none_or(|wanted| wanted == version)
    }
}

/// A weight from 0 to 1 of at most three decimals; what is none counts as not wanted.
fn thousandths(weight: &str) -> u16 {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return 0;
    }
    match whole {
        "1" => 1000,
        "0" => format!("{decimals:0<3}").parse().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_openmetrics_and_a_browser_plain_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let newer = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2";
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some(prometheus), Format::OpenMetrics),
            (Some(newer), Format::OpenMetrics),
            (Some("text/html,*/*;q=0.8"), Format::Prometheus),
            (Some("Application/OpenMetrics-Text"), Format::OpenMetrics),
            (
                Some("application/openmetrics-text ; Q=\"1\" , */*"),
                Format::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text;q=0.5, text/plain;q=0.501"),
                Format::Prometheus,
            ),
            (Some("application/openmetrics-text;q=0"), Format::Prometheus),
            (
                Some("application/openmetrics-text;version=0.0.1"),
                Format::Prometheus,
            ),
            (Some("application/openmetrics-text;q=9"), Format::Prometheus),
            (Some(";;,,=;q="), Format::Prometheus),
        ] {
            assert_eq!(super::format(accept), format, "{accept:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_sent_upsets_it(accept in ".*") {
            let _ = format(Some(&accept));
            proptest::prop_assert!(thousandths(&accept) <= 1000);
        }
    }
}
