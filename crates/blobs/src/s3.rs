//! Files in a bucket of S3, or of a server that speaks like it.

use std::ops::Range;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{DisplayErrorContext, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use bytes::Bytes;

use crate::{BlobError, Key, Piece, Put};

/// Files from this size on go up in parts: each can be tried again alone, and the store takes no request that runs for minutes.
const PART_BYTES: usize = 8 << 20;

/// A store that does not answer within this is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// With all tries. Those who upload wait meanwhile, and give up a line on which nothing moves for a minute.
const DONE_WITHIN: Duration = Duration::from_secs(40);

/// Tries of one request, the first included.
const TRIES: u32 = 3;

/// Characters of a failure that are told.
const WORDS_MAX: usize = 300;

/// Which bucket, and who we are there.
#[derive(Clone)]
pub struct S3Config {
    /// `https://host[:port]`; empty: Amazon's own for the region.
    pub endpoint: String,
    /// As the store names it; many take any.
    pub region: String,
    /// Must exist.
    pub bucket: String,
    /// Goes before every key: empty, or words that end with a slash.
    pub prefix: String,
    /// Name of the credentials.
    pub access_key: String,
    /// Their secret.
    pub secret_key: String,
    /// The bucket stands in the path, as most servers beside Amazon's want it, and not in the name of the host.
    pub path_style: bool,
    /// Where anybody can get files without a signature (a public bucket, or a network of caches before it); empty: links are signed.
    pub public_url: String,
}

impl std::fmt::Debug for S3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// A bucket.
pub struct Bucket {
    client: Client,
    bucket: String,
    prefix: String,
    public_url: String,
}

impl Bucket {
    /// Makes the client; nothing is asked yet.
    pub fn open(config: &S3Config) -> Result<Self, BlobError> {
        let S3Config { bucket, prefix, .. } = config;
        if bucket.is_empty() {
            return Err(BlobError::Bucket { bucket: bucket.clone(), why: "no bucket is named".into() });
        }
        let credentials = Credentials::from_keys(&config.access_key, &config.secret_key, None);
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_attempt_timeout(ANSWER_WITHIN)
            .operation_timeout(DONE_WITHIN);
        let mut builder = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(credentials)
            .region(Region::new(config.region.clone()))
            .force_path_style(config.path_style)
            .http_client(http)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
            // The newer default sends checksums in a form that several servers refuse.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if !config.endpoint.is_empty() {
            builder = builder.endpoint_url(&config.endpoint);
        }
        let public_url = config.public_url.trim_end_matches('/').to_owned();
        let client = Client::from_conf(builder.build());
        Ok(Self { client, bucket: bucket.clone(), prefix: prefix.clone(), public_url })
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What the store said, or why nothing was heard of it.
    fn failed(&self, error: &(impl std::error::Error + 'static)) -> BlobError {
        // A chain of causes that ends in the whole answer with all its headers: its beginning says it.
        let why = DisplayErrorContext(error).to_string().chars().take(WORDS_MAX).collect();
        BlobError::Bucket { bucket: self.bucket.clone(), why }
    }

    pub(crate) async fn put(&self, key: &Key, bytes: Bytes, content_type: &str) -> Result<Put, BlobError> {
        if bytes.len() > PART_BYTES {
            return self.put_in_parts(key, bytes, content_type).await;
        }
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .content_type(content_type)
            .if_none_match("*")
            .body(ByteStream::from(bytes));
        match request.send().await {
            Ok(_) => Ok(Put::New),
            Err(error) if is_status(&error, &[409, 412]) => Ok(Put::Known),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn put_in_parts(&self, key: &Key, bytes: Bytes, content_type: &str) -> Result<Put, BlobError> {
        // Not every server refuses to complete over a file that is there; the same bytes would be written again.
        if self.size(key).await?.is_some() {
            return Ok(Put::Known);
        }
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.name(key))
            .content_type(content_type)
            .send()
            .await
            .map_err(|error| self.failed(&error))?;
        let upload = begun.upload_id.unwrap_or_default();
        let done = self.put_parts(key, &upload, bytes).await;
        if done.is_err() {
            // What is left of it would be paid for.
            let abort =
                self.client.abort_multipart_upload().bucket(&self.bucket).key(self.name(key)).upload_id(&upload);
            if let Err(error) = abort.send().await {
                let error = self.failed(&error);
                tracing::warn!(%error, %key, "an unfinished upload could not be taken back; let the bucket's own rules delete such after a day");
            }
        }
        done
    }

    async fn put_parts(&self, key: &Key, upload: &str, bytes: Bytes) -> Result<Put, BlobError> {
        let mut parts = Vec::new();
        for (at, start) in (0..bytes.len()).step_by(PART_BYTES).enumerate() {
            let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
            let number = at as i32 + 1;
            let sent = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(self.name(key))
                .upload_id(upload)
                .part_number(number)
                .body(ByteStream::from(part))
                .send()
                .await
                .map_err(|error| self.failed(&error))?;
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
        }
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.name(key))
            .upload_id(upload)
            .if_none_match("*")
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await;
        match completed {
            Ok(_) => Ok(Put::New),
            Err(error) if is_status(&error, &[409, 412]) => Ok(Put::Known),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.name(key));
        match request.send().await {
            Ok(object) => {
                let body = object.body.collect().await.map_err(|error| self.failed(&error))?;
                Ok(Some(body.into_bytes()))
            }
            Err(error) if is_status(&error, &[404]) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Piece>, BlobError> {
        let none = async || {
            let size = self.size(key).await?;
            Ok(size.map(|bytes_total| Piece { bytes: Bytes::new(), bytes_total }))
        };
        if range.is_empty() {
            return none().await;
        }
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.client.get_object().bucket(&self.bucket).key(self.name(key)).range(bytes);
        match request.send().await {
            Ok(object) => {
                let total = object.content_range.as_deref().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
                let body = object.body.collect().await.map_err(|error| self.failed(&error))?.into_bytes();
                let bytes_total = total.unwrap_or(body.len() as u64);
                Ok(Some(Piece { bytes: body, bytes_total }))
            }
            Err(error) if is_status(&error, &[404]) => Ok(None),
            Err(error) if is_status(&error, &[416]) => none().await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) async fn size(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.name(key));
        match request.send().await {
            Ok(object) => Ok(Some(object.content_length.unwrap_or(0).unsigned_abs())),
            Err(error) if is_status(&error, &[404]) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.name(key));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_status(&error, &[404]) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, BlobError> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{prefix}", self.prefix))
            .max_keys(limit.min(1_000) as i32)
            .set_start_after(after.map(|after| self.name(after)));
        let page = request.send().await.map_err(|error| self.failed(&error))?;
        let names = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
        let ours = |name: String| Key::new(name.strip_prefix(&self.prefix)?).ok();
        Ok(names.filter_map(ours).take(limit).collect())
    }

    pub(crate) async fn link(&self, key: &Key, valid: Duration) -> Result<String, BlobError> {
        if !self.public_url.is_empty() {
            return Ok(format!("{}/{}", self.public_url, self.name(key)));
        }
        let presigning = PresigningConfig::expires_in(valid).map_err(|error| self.failed(&error))?;
        let request = self.client.get_object().bucket(&self.bucket).key(self.name(key)).presigned(presigning);
        Ok(request.await.map_err(|error| self.failed(&error))?.uri().to_owned())
    }

    pub(crate) async fn check(&self) -> Result<(), BlobError> {
        self.client.head_bucket().bucket(&self.bucket).send().await.map(|_| ()).map_err(|error| self.failed(&error))
    }
}

fn is_status<E>(error: &SdkError<E>, wanted: &[u16]) -> bool {
    error.raw_response().is_some_and(|response| wanted.contains(&response.status().as_u16()))
}
