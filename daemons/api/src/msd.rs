//! `/msd`: the lent drive (section 8.6). Fetching images from elsewhere is not here yet.

use crate::{
    answer::{self, Answer},
    body,
    failure::Failure,
    query::Query,
    routes::Entry,
};
use actix_web::{
    HttpRequest, HttpResponse,
    error::PayloadError,
    http::header,
    web::{self, Data},
};
use auth::Role;
use bytes::Bytes;
use futures_util::{Stream, stream};
use model::{check, msd as wire};
use msd::{Msd, Written};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/msd", || web::to(state)),
    Entry::post("/msd/set_params", || web::to(set_params)),
    Entry::post("/msd/set_connected", || web::to(set_connected)),
    Entry::get("/msd/read", || web::to(read)).by(Role::Operator),
    Entry::post("/msd/write", || web::to(write)),
    Entry::post("/msd/remove", || web::to(remove)),
    Entry::post("/msd/reset", || web::to(reset)),
];

async fn state(msd: Data<Msd>) -> Answer {
    Ok(answer::ok(&model::event::to_value(&show(&msd.subscribe().borrow()))))
}

async fn set_params(msd: Data<Msd>, query: Query) -> Answer {
    let image = match query.get("image") {
        Some(raw) if is_remote(raw) => return Err(msd::Error::RemoteDisabled.into()),
        Some(raw) if raw.trim().is_empty() => Some(None),
        _ => query.optional("image", check::image_name)?.map(Some),
    };
    let cdrom = query.optional("cdrom", check::boolean)?;
    let rw = query.optional("rw", check::boolean)?;
    msd.set_params(image, cdrom, rw).await?;
    Ok(answer::nothing())
}

/// Something of the form `scheme://host...` is meant as a remote image.
fn is_remote(raw: &str) -> bool {
    raw.trim().split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty() && !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

async fn set_connected(msd: Data<Msd>, query: Query) -> Answer {
    msd.set_connected(query.required("connected", check::boolean)?).await?;
    Ok(answer::nothing())
}

async fn read(msd: Data<Msd>, query: Query) -> Answer {
    let image = query.required("image", check::image_name)?;
    let compression =
        query.optional("compress", check::Compression::parse)?.unwrap_or(check::Compression::None);
    let packed = match compression {
        check::Compression::None => msd::Compression::None,
        check::Compression::Lzma => msd::Compression::Lzma,
        check::Compression::Zstd => msd::Compression::Zstd,
    };
    let read = msd.begin_read(&image, packed).await?;
    let name = percent_encode(format!("{image}{}", compression.suffix()).as_bytes(), UNRESERVED).to_string();
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{name}")));
    if compression == check::Compression::None {
        response.no_chunking(read.size());
    }
    // A failure in the middle breaks the answer off: the status is long gone.
    Ok(response.streaming(stream::try_unfold(read, async |mut read| {
        Ok::<_, Failure>(read.chunk().await?.map(|chunk| (chunk, read)))
    })))
}

/// What stays as it is in a percent-encoded file name.
const UNRESERVED: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

async fn write(msd: Data<Msd>, query: Query, request: HttpRequest, body: web::Payload) -> Answer {
    let image = query.required("image", check::image_name)?;
    let prefix = query.optional("prefix", check::image_prefix)?.unwrap_or_default();
    let remove_incomplete = query.flag("remove_incomplete")?;
    let size = content_length(&request)?;
    let name = if prefix.is_empty() { image } else { format!("{prefix}/{image}") };
    let write = msd.begin_write(&name, size, remove_incomplete).await?;
    let Written { name, size, written } = receive(write, body).await?;
    Ok(answer::ok(&json!({"image": {"name": name, "size": size, "written": written}})))
}

/// Takes an upload until its end. Dropping `write` is what ends one that broke off, or whose sender does nothing.
async fn receive<S>(mut write: msd::Write, mut body: S) -> Result<Written, Failure>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    while let Some(chunk) = body::next(&mut body).await {
        write.chunk(chunk.map_err(|why| Failure::invalid(format!("the upload broke off: {why}")))?).await?;
    }
    Ok(write.finish().await?)
}

fn content_length(request: &HttpRequest) -> Result<u64, Failure> {
    let value = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    value.and_then(|text| text.trim().parse().ok()).ok_or_else(|| Failure::invalid("Content-Length: missing"))
}

async fn remove(msd: Data<Msd>, query: Query) -> Answer {
    msd.remove(&query.required("image", check::image_name)?).await?;
    Ok(answer::nothing())
}

async fn reset(msd: Data<Msd>) -> Answer {
    msd.reset().await?;
    Ok(answer::nothing())
}

/// The drive as clients see it.
pub fn show(state: &msd::State) -> wire::State {
    wire::State {
        enabled: state.enabled,
        online: state.online,
        busy: state.busy,
        drive: state.drive.as_ref().map(|drive| wire::Drive {
            image: drive.image.as_ref().map(|chosen| wire::DriveImage {
                name: chosen.name.clone(),
                in_storage: chosen.in_storage,
                image: show_image(&chosen.image),
            }),
            connected: drive.connected,
            cdrom: drive.cdrom,
            rw: drive.rw,
        }),
        storage: state.storage.as_ref().map(show_storage),
    }
}

fn show_storage(storage: &msd::Storage) -> wire::Storage {
    let part = |part: &msd::Part| wire::Part { size: part.size, free: part.free, writable: part.writable };
    wire::Storage {
        images: storage.images.iter().map(|(name, image)| (name.clone(), show_image(image))).collect(),
        parts: storage.parts.iter().map(|(name, of)| (name.clone(), part(of))).collect(),
        downloading: storage.downloading.as_ref().map(|transfer| wire::Download {
            name: transfer.name.clone(),
            size: transfer.size,
            readed: transfer.done,
        }),
        uploading: storage.uploading.as_ref().map(|transfer| wire::Upload {
            name: transfer.name.clone(),
            size: transfer.size,
            written: transfer.done,
        }),
    }
}

fn show_image(image: &msd::Image) -> wire::Image {
    wire::Image {
        complete: image.complete,
        removable: image.removable,
        writable: image.writable,
        size: image.size,
        mod_ts: unix_seconds(image.modified),
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn an_address_is_not_a_name() {
        for remote in ["http://host/x.iso", "nfs://host", " smb://x "] {
            assert!(is_remote(remote), "{remote}");
        }
        for name in ["x.iso", "", "a/b", "://x", "a b://c", "http://"] {
            assert!(!is_remote(name), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stalls_gives_the_drive_back() {
        let dir = tempfile::tempdir().unwrap();
        let settings = msd::Settings { root: dir.path().to_owned(), ..msd::Settings::default() };
        let stop = CancellationToken::new();
        let (msd, task) = msd::spawn(settings, msd::Fake::new().drive(), msd::Plain, stop.clone());
        let mut state = msd.subscribe();
        state.wait_for(|state| state.online && !state.busy).await.unwrap();
        let write = msd.begin_write("x.iso", 10, true).await.unwrap();
        assert!(msd.subscribe().borrow().busy);
        let body = stream::iter([Ok(Bytes::from_static(b"abc"))]).chain(stream::pending());
        let failure = receive(write, body).await.unwrap_err();
        assert_eq!(failure.class.name(), "ValidatorError");
        let idle = state.wait_for(|state| !state.busy).await.unwrap().clone();
        assert!(!idle.storage.unwrap().images.contains_key("x.iso"), "and the rest is removed, as was asked");
        stop.cancel();
        task.await.unwrap();
    }
}
