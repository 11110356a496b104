use super::*;

#[test]
fn every_form_of_a_host_is_understood() -> Result<(), String> {
    for (text, tls, host, port, shown) in [
        (
            "http://127.0.0.1:9093",
            false,
            "127.0.0.1",
            9093,
            "127.0.0.1:9093",
        ),
        (
            "http://[2001:db8::1]:81/am/",
            false,
            "2001:db8::1",
            81,
            "[2001:db8::1]:81",
        ),
        ("https://[::1]", true, "::1", 443, "[::1]:443"),
        (
            "https://am.example",
            true,
            "am.example",
            443,
            "am.example:443",
        ),
        (
            "http://am.example/token",
            false,
            "am.example",
            80,
            "am.example:80",
        ),
        ("HTTP://host:80", false, "host", 80, "host:80"),
        ("https://h/a/b/", true, "h", 443, "h:443"),
    ] {
        let url = Url::parse(text)?;
        assert_eq!(
            (url.is_tls, &*url.host, url.port),
            (tls, host, port),
            "{text}"
        );
        assert_eq!(url.as_written(), text);
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), shown, "no path, which may be a secret");
    }
    Ok(())
}

#[test]
fn what_is_no_server_is_refused_without_being_repeated() {
    for wrong in [
        "",
        "127.0.0.1:9093",
        "s3cr3t:9093",
        "/s3cr3t",
        "ftp://host",
        "http://",
        "http://:80",
        "http://host:",
        "http://host:/",
        "http://host:0",
        "http://host:99999",
        "http://host:80:80",
        "http://h!st",
        "http://[::x]:80",
        "http://::1:80",
        "http://host/a b",
        "http://host/?token=s3cr3t",
        "http://host/#s3cr3t",
        "http://s3cr3t@host",
        "http://user:s3cr3t@host/path",
    ] {
        let said = Url::parse(wrong).expect_err(wrong);
        assert!(!said.contains("s3cr3t"), "{said}");
        assert!(
            said.contains("write it as") || said.contains("bearer_file"),
            "{said}"
        );
    }
}

#[test]
fn an_api_lies_below_the_path() -> Result<(), String> {
    for (text, path) in [
        ("http://am:9093", "/api/v2/alerts"),
        ("http://am:9093/", "/api/v2/alerts"),
        ("http://am:9093/am/", "/am/api/v2/alerts"),
        ("http://am:9093/am/api/v2/alerts", "/am/api/v2/alerts"),
        ("http://am:9093/api/v2/alerts/", "/api/v2/alerts"),
    ] {
        assert_eq!(Url::parse(text)?.below("/api/v2/alerts"), path);
    }
    assert_eq!(Url::parse("http://h")?.path, "/");
    assert_eq!(Url::parse("http://h/x/")?.path, "/x/");
    Ok(())
}
