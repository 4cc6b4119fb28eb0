//! The web page: files embedded in the program, open or behind the login (section 2).

use crate::{answer, gate, routes::Need};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../web"]
#[exclude = "tsconfig.json"]
struct Files;

/// Answers for every path that is not the API's.
pub async fn page(request: HttpRequest) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer::plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = request.path().trim_start_matches('/');
    if !is_open(path) && gate::authorize(&request, Need::Anyone).await.is_err() {
        return redirect("/login");
    }
    let Some((name, file)) = find(path) else { return answer::plain(StatusCode::NOT_FOUND) };
    if name.ends_with("/index.html") && !path.ends_with(".html") && !path.ends_with('/') && !path.is_empty() {
        // Addresses in a page are relative to its directory.
        return redirect(&format!("/{path}/"));
    }
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type(&name)))
        .insert_header((
            header::CACHE_CONTROL,
            "no-store, no-cache, must-revalidate, proxy-revalidate, max-age=0",
        ))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::X_FRAME_OPTIONS, "SAMEORIGIN"))
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .body(file.data.into_owned())
}

/// What a browser needs before anybody has logged in.
fn is_open(path: &str) -> bool {
    let below =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below("login") || below("share") || matches!(path, "favicon.ico" | "robots.txt")
}

/// The file of a path, or the index of its directory. Names are looked up in a table, so there is no way out of it.
fn find(path: &str) -> Option<(String, rust_embed::EmbeddedFile)> {
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
        for outside in ["../Cargo.toml", "share/../../Cargo.toml", "/etc/passwd", "nope"] {
            assert!(find(outside).is_none(), "{outside}");
        }
    }
}
