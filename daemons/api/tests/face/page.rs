//! What pages are given: who looks at them, who there is, and what they may load.

use crate::{
    appliance::{ADMIN, Appliance},
    right::token,
};
use serde_json::json;
use std::path::Path;

#[test]
fn everybody_is_told_who_they_are_and_administrators_who_there_is() {
    let appliance = Appliance::start();
    let viewer = token(&appliance, "viewer", "&scopes=atx");
    let who = |headers: &str| appliance.ask("GET", "/api/auth/who", headers, b"").json()["result"].clone();
    let expected = json!({"user": null, "token": "viewer", "by": "token", "role": "viewer", "login": true});
    assert_eq!(who(&viewer), expected, "whatever the token is for");
    let expected = json!({"user": "admin", "token": null, "by": "password", "role": "admin", "login": true});
    assert_eq!(who(ADMIN), expected);
    assert_eq!(appliance.ask("GET", "/api/auth/who", "", b"").status, 401);
    let users = json!([{"user": "admin", "role": "admin", "given": false, "code": "none"}]);
    assert_eq!(appliance.admin("GET", "/api/users").json()["result"]["users"], users);
    assert_eq!(appliance.ask("GET", "/api/users", &viewer, b"").status, 403);
    let open = Appliance::start_with(|config| config.kvmd.auth.enabled = false);
    let expected = json!({"user": null, "token": null, "by": "open", "role": "admin", "login": false});
    assert_eq!(open.ask("GET", "/api/auth/who", "", b"").json()["result"], expected);
}

#[test]
fn who_makes_a_token_is_told_what_it_can_be_for() {
    let appliance = Appliance::start();
    let scopes = appliance.admin("GET", "/api/tokens").json()["result"]["scopes"].clone();
    let scopes: Vec<String> = serde_json::from_value(scopes).unwrap();
    assert!(
        ["atx", "hid", "ws"].iter().all(|wanted| scopes.iter().any(|scope| scope == wanted)),
        "{scopes:?}"
    );
    token(&appliance, "viewer", &format!("&scopes={}", scopes.join(",")));
}

#[test]
fn a_page_loads_and_runs_nothing_but_ours() {
    let appliance = Appliance::start();
    for path in ["/", "/login/", "/share/js/console.js"] {
        let page = appliance.admin("GET", path);
        let policy = page.header("content-security-policy").unwrap_or("");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[test]
fn no_page_has_a_script_or_a_style_of_its_own() {
    let mut pages = 0;
    let mut rest = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web")];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                rest.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "html") {
                pages += 1;
                let text = std::fs::read_to_string(entry.path()).unwrap();
                for bad in ["<script>", "<style", " style=", " onclick=", " onload=", "javascript:"] {
                    assert!(!text.contains(bad), "{}: {bad}", entry.path().display());
                }
            }
        }
    }
    assert!(pages >= 6, "{pages}");
}
