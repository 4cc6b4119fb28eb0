//! Requests and answers.

use crate::appliance::{ADMIN, Appliance};
use api::routes::{self, Need};
use serde_json::json;
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

#[test]
fn every_route_answers_401_without_a_session() {
    let appliance = Appliance::start();
    let stream = api::streamer::STREAM_ROUTES.iter().map(|row| (row, row.path.to_owned()));
    let table = routes::all().map(|row| (row, format!("/api{}", row.path)));
    for (row, path) in
        table.chain(stream).filter(|(row, _)| !matches!(row.need, Need::Nothing | Need::NoOwner))
    {
        let answer = appliance.ask(row.method, &path, "", b"");
        assert_eq!(answer.status, 401, "{row:?}");
        if row.method != "HEAD" {
            assert_eq!(answer.error(), "UnauthorizedError", "{row:?}");
        }
    }
}

/// An appliance that nobody owns yet.
fn unclaimed() -> Appliance {
    let appliance = Appliance::start_with(|config| {
        std::fs::remove_file(&config.kvmd.auth.internal.file).unwrap();
        config.kvmd.auth.claim = config::AuthClaim::True;
    });
    assert!(!appliance.users().exists());
    appliance
}

#[test]
fn without_an_owner_every_route_but_the_claim_s_says_so() {
    let appliance = unclaimed();
    let stream = api::streamer::STREAM_ROUTES.iter().map(|row| (row, row.path.to_owned()));
    let table = routes::all().map(|row| (row, format!("/api{}", row.path)));
    let cookie = format!("Cookie: auth_token={}\r\n", "0".repeat(64));
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (row, path) in table.chain(stream).filter(|(row, _)| row.need != Need::NoOwner) {
        for headers in ["", ADMIN, cookie.as_str(), upgrade] {
            let answer = appliance.ask(row.method, &path, headers, b"");
            assert_eq!(answer.status, 403, "{row:?} {headers}");
            if row.method != "HEAD" {
                assert_eq!(answer.error(), "NotClaimedError", "{row:?} {headers}");
            }
        }
    }
    assert_eq!(
        appliance.ask_unix("GET", "/auth/check").error(),
        "NotClaimedError",
        "a stranger of this machine"
    );
}

#[test]
fn without_an_owner_every_page_leads_to_the_claim() {
    let appliance = unclaimed();
    let ask = |path: &str| appliance.ask("GET", path, "", b"");
    for path in ["/", "/index.html", "/login", "/login/", "/kvm/", "/nope"] {
        let answer = ask(path);
        assert_eq!((answer.status, answer.header("Location")), (302, Some("/claim/")), "{path}");
    }
    assert_eq!(ask("/claim/").status, 200);
    for path in ["/share/js/claim.js", "/share/css/main.css", "/favicon.ico"] {
        assert_eq!(ask(path).status, 200, "{path}");
    }
}

#[test]
fn an_owner_who_comes_by_the_file_opens_everything_at_once() {
    let appliance = unclaimed();
    assert_eq!(appliance.admin("GET", "/api/auth/check").error(), "NotClaimedError");
    auth::file::replace(&appliance.users(), Appliance::ADMIN_LINE.as_bytes()).unwrap();
    assert_eq!(appliance.admin("GET", "/api/auth/check").status, 200);
    let page = appliance.ask("GET", "/claim/", "", b"");
    assert_eq!((page.status, page.header("Location")), (302, Some("/")));
    let claim = appliance.ask("GET", "/api/system/claim", "", b"");
    assert_eq!(claim.json()["result"], json!({"claimed": true}));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let late = appliance.ask("POST", "/api/system/claim", form, b"code=ABCDEFGH&passwd=correct+horse");
    assert_eq!((late.status, late.error().as_str()), (409, "AlreadyClaimedError"));
}

#[test]
fn no_other_site_s_page_can_claim() {
    let appliance = unclaimed();
    let form = "Content-Type: application/x-www-form-urlencoded\r\nOrigin: https://evil.example\r\n";
    let answer = appliance.ask("POST", "/api/system/claim", form, b"code=ABCDEFGH&passwd=correct+horse");
    assert_eq!((answer.status, answer.error().as_str()), (403, "ForbiddenError"));
}

#[test]
fn the_stream_is_served_as_the_streamer_itself_would() {
    let appliance = Appliance::start();
    assert_eq!(appliance.admin("GET", "/streamer/").status, 200);
    assert_eq!(appliance.admin("GET", "/streamer/state").status, 503, "it does not run");
    for method in ["HEAD", "OPTIONS"] {
        let answer = appliance.admin(method, "/streamer/stream");
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{method}");
    }
    assert_eq!(appliance.admin("POST", "/streamer/state").status, 405);
}

#[test]
fn every_route_knows_its_own_methods_before_it_asks_who_comes() {
    let appliance = Appliance::start();
    for row in routes::all() {
        let answer = appliance.ask("HEAD", &format!("/api{}", row.path), "", b"");
        assert_eq!(answer.status, 405, "{row:?}");
        assert!(answer.header("Allow").is_some_and(|allow| allow.contains(row.method)), "{row:?}");
        assert!(answer.header("Content-Type").is_some_and(|kind| kind.starts_with("text/plain")), "{row:?}");
    }
}

#[test]
fn the_pages_send_strangers_to_the_login() {
    let appliance = Appliance::start();
    for path in ["/", "/index.html", "/nope"] {
        let answer = appliance.ask("GET", path, "", b"");
        assert_eq!((answer.status, answer.header("Location")), (302, Some("/login")), "{path}");
    }
    assert_eq!(appliance.ask("GET", "/login/", "", b"").status, 200);
    assert_eq!(appliance.ask("GET", "/login", "", b"").header("Location"), Some("/login/"));
    let page = appliance.ask("GET", "/", ADMIN, b"");
    assert_eq!(page.status, 200);
    assert!(page.header("Cache-Control").is_some_and(|value| value.contains("no-store")));
}

#[test]
fn a_browser_finds_icon_robots_and_style_before_anybody_logged_in() {
    let appliance = Appliance::start();
    let ask = |path: &str| appliance.ask("GET", path, "", b"");
    let icon = ask("/favicon.ico");
    assert_eq!((icon.status, icon.header("Content-Type")), (200, Some("image/svg+xml")));
    assert!(!icon.body.is_empty());
    let robots = ask("/robots.txt");
    assert_eq!((robots.status, robots.body.as_slice()), (200, &b"User-agent: *\nDisallow: /\n"[..]));
    let style = ask("/share/css/user.css");
    assert_eq!((style.status, style.body.as_slice()), (200, &b""[..]), "there is none yet");
    let etc = config::Layout::under(appliance.dir.path()).etc;
    std::fs::create_dir_all(&etc).unwrap();
    std::fs::write(etc.join("web.css"), "body { color: red }").unwrap();
    let style = ask("/share/css/user.css");
    assert_eq!(style.header("Content-Type"), Some("text/css; charset=utf-8"));
    assert_eq!(style.body, b"body { color: red }");
}

#[test]
fn the_console_of_old_bookmarks_is_the_page() {
    let appliance = Appliance::start();
    for (path, location) in [("/kvm", "./"), ("/kvm/", "../")] {
        let answer = appliance.admin("GET", path);
        assert_eq!((answer.status, answer.header("Location")), (302, Some(location)), "{path}");
        assert_eq!(appliance.ask("GET", path, "", b"").header("Location"), Some("/login"), "{path}");
    }
    assert_eq!(appliance.admin("GET", "/kvm/x").status, 404);
}

#[test]
fn the_first_carrier_decides() {
    let appliance = Appliance::start();
    let cookie = appliance.login();
    let wrong = "X-KVMD-User: admin\r\nX-KVMD-Passwd: wrong\r\n";
    for (headers, status) in [
        (cookie.as_str(), 200),
        (ADMIN, 200),
        (&format!("{cookie}{wrong}"), 403),
        (&format!("{cookie}X-KVMD-User: \r\n"), 200),
        ("Cookie: auth_token=xyz\r\n", 400),
        ("Cookie: auth_token=\r\n", 401),
        (&format!("Cookie: auth_token={}\r\n", "0".repeat(64)), 403),
        ("Authorization: basic YWRtaW46YWRtaW4=\r\n", 200),
        ("Authorization: Basic !!!\r\n", 401),
        ("Authorization: Bearer x\r\n", 401),
        ("", 401),
    ] {
        assert_eq!(appliance.ask("GET", "/api/auth/check", headers, b"").status, status, "{headers:?}");
    }
}

#[test]
fn logging_out_ends_every_session_of_the_user() {
    let appliance = Appliance::start();
    let (first, second) = (appliance.login(), appliance.login());
    assert_eq!(appliance.ask("POST", "/api/auth/logout", ADMIN, b"").status, 400, "without a cookie");
    assert_eq!(appliance.ask("POST", "/api/auth/logout", &first, b"").status, 200);
    for cookie in [&first, &second] {
        assert_eq!(appliance.ask("GET", "/api/auth/check", cookie, b"").status, 403);
    }
}

#[test]
fn the_login_cookie_has_the_attributes_of_the_contract() {
    let appliance = Appliance::start();
    let form = |body: &[u8]| {
        appliance.ask("POST", "/api/auth/login", "Content-Type: application/x-www-form-urlencoded\r\n", body)
    };
    let answer = form(b"user=admin&passwd=admin");
    assert!(answer.header("Set-Cookie").unwrap().ends_with("; HttpOnly; Path=/; SameSite=Strict"));
    let answer = form(b"user=admin&passwd=admin&redirect=/kvm/");
    assert_eq!((answer.status, answer.header("Location")), (302, Some("/kvm/")));
    for (body, status) in [
        (&b"user=admin&passwd=bad"[..], 403),
        (b"user=Admin&passwd=bad", 400),
        (b"user=admin&passwd=admin&redirect=//evil.example", 400),
        (b"user=admin&passwd=admin&expire=abc", 400),
        (b"", 400),
    ] {
        assert_eq!(form(body).status, status, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_page_from_elsewhere_may_not_change_anything() {
    let appliance = Appliance::start();
    let cookie = appliance.login();
    let from = |origin: &str| format!("{cookie}Origin: {origin}\r\n");
    for (origin, status) in [("http://kvm.local", 200), ("http://evil.example", 403), ("null", 403)] {
        assert_eq!(appliance.ask("POST", "/api/hid/reset", &from(origin), b"").status, status, "{origin}");
    }
    assert_eq!(appliance.ask("GET", "/api/hid", &from("http://evil.example"), b"").status, 200);
}

#[test]
fn untidy_paths_are_sent_to_their_tidy_form() {
    let appliance = Appliance::start();
    for (path, location) in
        [("/api//hid", "/api/hid"), ("/api/hid/", "/api/hid"), ("/api/info/?a=1", "/api/info?a=1")]
    {
        let answer = appliance.admin("GET", path);
        assert_eq!((answer.status, answer.header("Location")), (308, Some(location)), "{path}");
    }
    assert_eq!(appliance.admin("GET", "/api/nope/").status, 404);
    assert_eq!(appliance.ask_unix("GET", "//hid").header("Location"), Some("/hid"));
}

#[test]
fn the_unix_socket_serves_the_api_at_its_root_and_below_api() {
    let appliance = Appliance::start_with(|config| {
        let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
        config.kvmd.auth.usc.users = vec![me.name];
    });
    for path in ["/info", "/api/info", "/hid"] {
        assert_eq!(appliance.ask_unix("GET", path).status, 200, "{path}");
    }
    assert_eq!(appliance.ask_unix("GET", "/auth/check").status, 401, "the kernel's word does not count here");
    assert_eq!(appliance.ask("GET", "/api/info", "", b"").status, 401, "nor over the network");
}

#[test]
fn bad_parameters_are_validator_errors() {
    let appliance = Appliance::start();
    for path in [
        "/api/hid/events/send_key?key=Nope",
        "/api/hid/events/send_key?key=KeyA&state=on",
        "/api/hid/events/send_mouse_move?to_x=1.5&to_y=0",
        "/api/hid/events/send_mouse_wheel",
        "/api/hid/set_params?jiggler=on",
        "/api/hid/print?keymap=../secret",
        "/api/atx/power?action=",
        "/api/atx/click?button=power&wait=x",
        "/api/gpio/switch?channel=a+b&state=1",
        "/api/gpio/pulse?channel=relay1&delay=nan",
        "/api/msd/set_params?image=../x",
        "/api/msd/set_connected",
        "/api/streamer/set_params?quality=0",
        "/api/msd/write?image=x.iso",
    ] {
        let answer = appliance.admin("POST", path);
        assert_eq!((answer.status, answer.error().as_str()), (400, "ValidatorError"), "{path}");
    }
}

#[test]
fn an_image_goes_in_and_comes_out_again() {
    let appliance = Appliance::start();
    let answer = appliance.ask("POST", "/api/msd/write?image=a%20b.iso", ADMIN, b"image data");
    let sha256 = "b41b86dcfdc6219bc2fb987591ad9995bcf3a1e40c2bdd3fdbec622371e6e1af";
    let expected = json!({"name": "a b.iso", "size": 10, "written": 10, "sha256": sha256});
    assert_eq!(answer.json()["result"]["image"], expected);
    let answer = appliance.ask("POST", "/api/msd/write?image=a%20b.iso", ADMIN, b"other");
    assert_eq!(answer.error(), "MsdImageExistsError");
    let answer = appliance.admin("GET", "/api/msd/read?image=a+b.iso");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"image data"[..]));
    assert_eq!(answer.header("Content-Disposition"), Some("attachment; filename*=UTF-8''a%20b.iso"));
    assert_eq!(answer.header("Content-Length"), Some("10"));
}

#[test]
fn a_client_that_leaves_an_endless_answer_is_noticed_while_nothing_is_sent() {
    let appliance = Appliance::start_silent();
    // It still reads, so that only the server can bring this to an end.
    let answer = appliance.leave("/streamer/stream");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn an_old_client_gets_no_chunks_and_the_end_of_the_connection_for_an_end() {
    let appliance = Appliance::start();
    assert_eq!(appliance.ask("POST", "/api/msd/write?image=x.iso", ADMIN, b"image data").status, 200);
    let path = "/api/msd/read?image=x.iso&compress=zstd";
    for connection in ["", "Connection: keep-alive\r\n"] {
        let answer =
            appliance.raw(format!("GET {path} HTTP/1.0\r\nHost: x\r\n{ADMIN}{connection}\r\n").as_bytes());
        assert_eq!((answer.status, answer.header("Transfer-Encoding")), (200, None));
        assert!(answer.body.starts_with(b"\x28\xb5\x2f\xfd"), "zstd from the first byte on");
    }
    assert_eq!(appliance.admin("GET", path).header("Transfer-Encoding"), Some("chunked"), "a new one does");
}

#[test]
fn text_that_is_too_long_is_413() {
    let appliance = Appliance::start();
    let answer = appliance.ask("POST", "/api/hid/print", ADMIN, &vec![b'a'; (1 << 20) + 1]);
    assert_eq!(answer.status, 413);
    assert_eq!(appliance.ask("POST", "/api/hid/print", ADMIN, b"\xff\xfe").error(), "ValidatorError");
}

/// With the keymaps we ship.
fn with_keymaps() -> Appliance {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rootfs-overlay/usr/share/kvmd/keymaps/en-us");
    Appliance::start_with(|config| config.kvmd.hid.keymap = shipped.into())
}

#[test]
fn what_a_layout_cannot_type_is_told_before_it_is_typed() {
    let appliance = with_keymaps();
    let check = |query: &str, text: &str| {
        let answer = appliance.ask("POST", &format!("/api/hid/print/check{query}"), ADMIN, text.as_bytes());
        assert_eq!(answer.status, 200);
        answer.json()["result"].clone()
    };
    let eszett = json!({"char": "ß", "code": "U+00DF", "first": 2, "count": 2});
    assert_eq!(
        check("", "Spaß—Straße\r\n"),
        json!({"keymap": "en-us", "length": 13, "kinds": 1, "untypable": [{"char": "ß", "code": "U+00DF", "first": 3, "count": 2}]})
    );
    assert_eq!(check("?keymap=de", "Straße, été")["untypable"], json!([]), "also with dead keys");
    assert_eq!(check("?limit=4", "abßß ßß")["untypable"], json!([eszett]), "what is cut off does not count");
    let apart = check("?keymap=de&limit=3", "\u{FEFF}e\u{301}\u{df}a\u{304}z");
    assert_eq!((&apart["length"], &apart["kinds"]), (&json!(3), &json!(1)), "é, ß and ā: {apart}");
    assert_eq!(apart["untypable"][0]["code"], "U+0101");
    let many: String = ('\u{4e00}'..'\u{5e00}').collect();
    let answer = check("?limit=0", &many);
    assert_eq!((answer["kinds"].clone(), answer["untypable"].as_array().unwrap().len()), (json!(4096), 100));

    let strict = |query: &str| {
        appliance.ask("POST", &format!("/api/hid/print?strict={query}"), ADMIN, "Spaß".as_bytes())
    };
    assert_eq!(strict("1&keymap=de").status, 200);
    assert_eq!(strict("0").status, 200, "left out, as clients are used to");
    let refused = strict("1");
    assert_eq!((refused.status, refused.error().as_str()), (400, "ValidatorError"));
    let message = refused.json()["result"]["error_msg"].as_str().unwrap().to_owned();
    assert!(message.contains("en-us") && message.contains('ß'), "{message}");
    assert_eq!(strict("maybe").error(), "ValidatorError");
}

#[test]
fn text_is_in_the_charset_the_client_says_and_forms_are_text() {
    let appliance = with_keymaps();
    let check = |kind: &str, body: &[u8]| {
        let headers = format!("{ADMIN}Content-Type: {kind}\r\n");
        appliance.ask("POST", "/api/hid/print/check?keymap=ru", &headers, body)
    };
    let answer = check("text/plain; charset=koi8-r", b"\xd0\xd2\xc9\xd7\xc5\xd4 z").json()["result"].clone();
    assert_eq!((answer["length"].clone(), answer["untypable"][0]["char"].clone()), (json!(8), json!("z")));
    let answer = check("application/x-www-form-urlencoded", b"%D0=1").json()["result"].clone();
    assert_eq!(answer["length"], json!(5));
    assert_eq!(check("text/plain; charset=nonsense", b"a").error(), "ValidatorError");
}

#[test]
fn slow_text_holds_the_request_until_the_client_leaves() {
    let appliance = with_keymaps();
    let mut stream = TcpStream::connect(appliance.address).unwrap();
    let body = "a".repeat(1000);
    let head = "POST /api/hid/print?delay=5 HTTP/1.1\r\nHost: kvm.local\r\n";
    let request = format!("{head}{ADMIN}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let early = stream.read(&mut [0; 64]);
    assert_eq!(
        early.map_err(|error| error.kind()),
        Err(ErrorKind::WouldBlock),
        "answered before it was typed"
    );
    drop(stream);
    // One text at a time: this one would wait for the other's two hours and a half.
    assert_eq!(appliance.ask("POST", "/api/hid/print", ADMIN, b"b").status, 200);
    let audit = appliance.admin("GET", "/api/audit").json()["result"]["records"].clone();
    let left = audit.as_array().unwrap().iter().find(|record| record["status"] == 499).unwrap();
    assert_eq!((&left["path"], &left["user"]), (&json!("/hid/print"), &json!("admin")));
}

#[test]
fn garbage_on_the_wire_hurts_nobody() {
    let appliance = Appliance::start();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/msd/write?image=x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /api/info HTTP/1.1\r\nHost: x\r\nCookie: \xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET /api/%ff%00?a=%zz&%=&&&= HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let status = appliance.raw(&[garbage, b"\r\n\r\n"].concat()).status;
        assert!(status == 0 || (400..500).contains(&status), "{status} for {garbage:?}");
    }
    assert_eq!(appliance.admin("GET", "/api/auth/check").status, 200);
}

#[test]
fn without_a_streamer_there_is_no_picture() {
    let appliance = Appliance::start();
    for query in ["", "?allow_offline=1", "?load=1", "?preview=bad"] {
        let answer = appliance.admin("GET", &format!("/api/streamer/snapshot{query}"));
        assert_eq!((answer.status, answer.error().as_str()), (503, "UnavailableError"), "{query}");
    }
    assert_eq!(appliance.admin("GET", "/api/streamer/snapshot?save=bad").status, 400);
    assert_eq!(
        appliance.admin("POST", "/api/streamer/set_params?resolution=abc").error(),
        "StreamerResolutionNotSupported"
    );
}
