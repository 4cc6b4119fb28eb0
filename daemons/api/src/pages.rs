//! The web page: files embedded in the program, open or behind the login (section 2).

use crate::{answer, gate, routes::Need};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web::{self, Data},
};
use rust_embed::RustEmbed;
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

#[derive(RustEmbed)]
#[folder = "../../web"]
#[exclude = "tsconfig.json"]
struct Files;

/// The administrator's own style sheet.
#[derive(Debug, Clone)]
pub struct UserStyle(pub PathBuf);

/// The longest style sheet that is read, in bytes; what is beyond is left out.
const STYLE_LONGEST: u64 = 1 << 20;
/// What a page may load and where it may send: ours and nothing else, no script or style inside a page. Pictures are also
/// made by the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";
/// Nothing here is for a search engine.
const ROBOTS: &str = "User-agent: *\nDisallow: /\n";

/// Answers for every path that is not the API's.
pub async fn page(request: HttpRequest) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer::plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = request.path().trim_start_matches('/');
    // The way to an owner is there as long as there is none, and nothing else is.
    match (gate::is_owned(&request), below(path, "claim")) {
        (true, true) => return redirect("/"),
        (false, false) if !is_asset(path) => return redirect("/claim/"),
        _ => {}
    }
    if !is_open(path) && gate::authorize(&request, Need::Anyone).await.is_err() {
        return redirect("/login");
    }
    match path {
        "share/css/user.css" => return show("user.css", user_style(&request).await),
        "robots.txt" => return show(path, ROBOTS.as_bytes().to_vec()),
        // Where others have their console. Relative, because a proxy may have put us below a path of its own.
        "kvm" => return redirect("./"),
        "kvm/" => return redirect("../"),
        _ => {}
    }
    let Some((name, file)) = find(path) else { return answer::plain(StatusCode::NOT_FOUND) };
    if name.ends_with("/index.html") && !path.ends_with(".html") && !path.ends_with('/') && !path.is_empty() {
        // Addresses in a page are relative to its directory.
        return redirect(&format!("/{path}/"));
    }
    show(&name, file.data.into_owned())
}

fn show(name: &str, body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type(name)))
        .insert_header((
            header::CACHE_CONTROL,
            "no-store, no-cache, must-revalidate, proxy-revalidate, max-age=0",
        ))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::X_FRAME_OPTIONS, "SAMEORIGIN"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .body(body)
}

/// Read anew each time, so that whoever works on it sees it at the next reload. Most appliances have none.
async fn user_style(request: &HttpRequest) -> Vec<u8> {
    let Some(style) = request.app_data::<Data<UserStyle>>().cloned() else { return Vec::new() };
    let read = move || read_style(&style.0);
    match web::block(read).await {
        Ok(Ok(text)) => text,
        Ok(Err(why)) => {
            log::warn!("cannot read the style sheet: {why}");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

fn read_style(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // Opening anything but a file might wait for ever.
    if path.is_file() {
        File::open(path)?.take(STYLE_LONGEST).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// What a browser needs before anybody has logged in.
fn is_open(path: &str) -> bool {
    below(path, "login") || below(path, "claim") || is_asset(path)
}

/// What pages are made of.
fn is_asset(path: &str) -> bool {
    below(path, "share") || matches!(path, "favicon.ico" | "robots.txt")
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The file of a path, or the index of its directory. Names are looked up in a table, so there is no way out of it.
fn find(path: &str) -> Option<(String, rust_embed::EmbeddedFile)> {
    // Browsers ask for it whatever the page says; they take it for what its type says.
    let path = if path == "favicon.ico" { "share/svg/icon.svg" } else { path };
    let index = match path.trim_end_matches('/') {
        "" => "index.html".to_owned(),
        folder => format!("{folder}/index.html"),
    };
    [path.to_owned(), index].into_iter().find_map(|name| Files::get(&name).map(|file| (name, file)))
}

fn redirect(location: &str) -> HttpResponse {
    let mut response = answer::plain(StatusCode::FOUND);
    if let Ok(location) = header::HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_login_needs_is_open() {
        for open in ["login", "login/", "login/index.html", "share/css/main.css", "favicon.ico", "robots.txt"]
        {
            assert!(is_open(open), "{open}");
        }
        for gated in ["", "index.html", "kvm/", "loginx", "sharex/a", "extras/x", "a/login"] {
            assert!(!is_open(gated), "{gated}");
        }
    }

    #[test]
    fn the_page_and_its_login_are_embedded() {
        for path in ["", "index.html", "login", "login/"] {
            assert!(find(path).is_some_and(|(name, _)| name.ends_with("index.html")), "{path}");
        }
        assert_eq!(find("favicon.ico").map(|(name, _)| name).as_deref(), Some("share/svg/icon.svg"));
        for outside in ["../Cargo.toml", "share/../../Cargo.toml", "/etc/passwd", "nope"] {
            assert!(find(outside).is_none(), "{outside}");
        }
    }

    #[test]
    fn a_style_sheet_is_a_file_of_bounded_length_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.css");
        assert_eq!(read_style(&path).unwrap(), b"");
        assert_eq!(read_style(dir.path()).unwrap(), b"", "not a file");
        std::fs::write(&path, "a {}").unwrap();
        assert_eq!(read_style(&path).unwrap(), b"a {}");
        std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert_eq!(read_style(&path).unwrap().len(), 1 << 20);
    }
}
