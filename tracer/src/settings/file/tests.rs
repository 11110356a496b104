//! What is read of a file, and what is refused.

use super::*;

#[test]
fn a_file_is_read() {
    let read = parse(
        r#"
        [[service]]
        name = "A"
        listen = ["6.6.6.6:80", "[2001:db8::6]:443", "*:81"]
        unit = "nginx-a.service"

        [learn]
        hold = "30s"
        "#,
    )
    .expect("a good file");
    let read = read.expectations;
    assert_eq!(read.hold, Some(Duration::from_secs(30)));
    let [service] = read.services.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!(&*service.name, "A");
    let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["6.6.6.6:80", "[2001:db8::6]:443", "*:81"]);
    assert_eq!(service.owner.unit.as_deref(), Some("nginx-a.service"));
    assert_eq!(parse(""), Ok(Settings::default()));
    let off = parse("[learn]\nenabled = false");
    assert_eq!(off.map(|read| read.expectations.hold), Ok(None));
}

#[test]
fn two_services_may_share_an_address_in_two_namespaces() {
    let service = |name, netns| {
        format!("[[service]]\nname = '{name}'\nlisten = ['*:80']\nnetns = '{netns}'\n")
    };
    let two = service("A", "web") + &service("B", "db");
    assert_eq!(
        parse(&two).map(|read| read.expectations.services.len()),
        Ok(2)
    );
    let one = service("A", "web") + &service("B", "/run/netns/web");
    assert!(parse(&one).is_err(), "one namespace, named twice");
}

#[test]
fn a_bad_file_is_refused_and_the_place_named() {
    let cases = [
        ("[[servce]]\nname = 'A'", "servce"),
        ("[[service]]\nname = 'A'\nlisten = []", "listens nowhere"),
        ("[[service]]\nname = 'A'", "listen"),
        ("[[service]]\nname = 'A'\nlisten = ['6.6.6.6']", "6.6.6.6"),
        (
            "[[service]]\nname = ''\nlisten = ['6.6.6.6:80']",
            "empty name",
        ),
        (
            "[[service]]\nname = 'A'\nlisten = ['*:80']\nunits = 'x'",
            "units",
        ),
        (
            "[[service]]\nname='A'\nlisten=['*:1']\n[[service]]\nname='A'\nlisten=['*:2']",
            "two services",
        ),
        (
            "[[service]]\nname='A'\nlisten=['*:1']\n[[service]]\nname='B'\nlisten=['*:1']",
            "another service's",
        ),
        ("[watch]\nport = [80]", "`ports`"),
        ("[watch]\nports = [0]", "\"0\" is no port"),
        ("[watch]\nports = ['90-80']", "90-80"),
        ("[watch]\nports = [1.5]", "write ports as"),
        ("[watch]\ndst = ['6.6.6.6/99']", "6.6.6.6/99"),
        ("[watch]\nnetns = ['pid:x']", "pid:x"),
        ("[watch]\nfamily = 'ipx'", "ipx"),
        (
            "[[service]]\nname='A'\nlisten=['*:1']\nnetns = ''",
            "write it as",
        ),
        ("[learn]\nhold = 'soon'", "soon"),
        (
            "[learn]\nhold = 10",
            "line 2: hold: not a time; write it with",
        ),
        (
            "[learn]\nhold = '10'",
            "line 2: hold: \"10\" has no unit; write it as \"10s\"",
        ),
        ("[alerts]\nresend = '30'", "resend: \"30\" has no unit"),
        (
            "[[sink]]\ntype = 'otlp'\nurl = 'http://h'\ntimeout = '9'",
            "timeout: \"9\" has no unit",
        ),
        ("[daemon]\nself_check = '60'", "\"60\" has no unit"),
        ("[daemon]\nself_check = false", "self_check: not a time"),
        ("[daemon]\nself_check = '1s'", "\"off\": never"),
        (
            "[daemon]\non_untraceable = 'stay'",
            "line 2: on_untraceable: \"stay\" is neither \"exit\" nor \"inventory\"",
        ),
        ("[daemon]\naudit = '5s'", "audit: \"5s\" is out of range"),
        (
            "[alerts]\nresend = '9s'",
            "line 2: resend: \"9s\" is out of range",
        ),
        (
            "[alerts]\nresend = '10m'",
            "write quiet = \"10m\" or longer",
        ),
        ("[alerts]\nmax_active = 0", "from 1 to 4096"),
        (
            "[alerts]\nstate = 'a'",
            "state: it is no path from the root",
        ),
        ("[alerts]\non = ['ok']", "every SYN that is right"),
        ("[metrics]\nmax_series = 99", "from 100 to 1000000"),
        ("[stream]\nevents = 'some'", "sample 1/100"),
    ];
    for (text, part) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}
