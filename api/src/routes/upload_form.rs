//! A small file at once, as an ordinary form of a page sends it.

use axum::Json;
use axum::body::Body;
use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use super::uploads::{UploadView, Wish, add, begin};
use crate::House;
use crate::bearer::Bearer;
use crate::input::{fault, invalid};
use crate::records::upload;

/// A whole file is held in memory until its length is known; a larger one must be resumable.
const FORM_BYTES_MAX: usize = 5 * 1000 * 1000;

/// A whole form: the file, and some room for what is around it.
pub const BODY_BYTES_MAX: usize = FORM_BYTES_MAX + 100_000;

/// A form must be complete after this long.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// A field of text.
const TEXT_BYTES_MAX: usize = 200;

/// Takes the form: `store`, `item`, `preset`, `focus`, and `file`.
pub async fn take(house: &House, bearer: &Bearer, form: Multipart) -> Result<Response, Refusal> {
    let read = tokio::time::timeout(WITHIN, read(form)).await;
    let late = || Refusal::new(ErrorCode::Malformed, "the form did not arrive in time");
    let (wish, file) = read.map_err(|_| late())??;
    let mut upload = begin(house, bearer, wish, file.len() as u64).await?;
    if let Err(refused) = add(house, &mut upload, Body::from(file), None).await? {
        return Ok(refused);
    }
    let stored = upload::by_id(&house.db, &upload.id.to_string()).await.map_err(fault)?;
    let view = UploadView::of(stored.as_ref().unwrap_or(&upload));
    let location = [("location", format!("/v1/uploads/{}", upload.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
}

async fn read(mut form: Multipart) -> Result<(Wish, Vec<u8>), Refusal> {
    let (mut wish, mut file) = (Wish::default(), None);
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            file = Some(bytes(field, FORM_BYTES_MAX).await?);
        } else {
            let text = String::from_utf8(bytes(field, TEXT_BYTES_MAX).await?);
            wish.set(&name, text.map_err(|_| invalid(&name, "is not UTF-8"))?);
        }
    }
    Ok((wish, file.ok_or_else(|| invalid("file", "is missing"))?))
}

async fn bytes(mut field: Field<'_>, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(malformed)? {
        if bytes.len() + chunk.len() > bytes_max {
            let message = format!("a field of the form has more than {bytes_max} bytes; send larger files by tus");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn malformed(error: MultipartError) -> Refusal {
    let code = if error.status() == StatusCode::PAYLOAD_TOO_LARGE { ErrorCode::TooLarge } else { ErrorCode::Malformed };
    Refusal::new(code, error.body_text())
}
