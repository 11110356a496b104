//! Times as servers write them.

/// Seconds since 1970 of a time in RFC 3339, which must be UTC.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split(':');
    let hours: f64 = clock.next()?.parse().ok()?;
    let minutes: f64 = clock.next()?.parse().ok()?;
    let seconds: f64 = clock.next()?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "days since 1970 are few")]
    let days = days(year, month, day) as f64;
    Some(((days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds)
}

/// Days since 1970: with March as the first month, the day that leap years add is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2024-02-29T12:00:00.500Z"), Some(1_709_208_000.5));
        assert_eq!(seconds("2026-11-26T15:36:41Z"), Some(1_795_707_401.0));
        assert_eq!(seconds("2026-11-26T15:36:41+01:00"), None);
        assert_eq!(seconds("soon"), None);
    }
}
