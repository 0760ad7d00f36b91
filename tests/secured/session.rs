//! Temporary credentials of the object store, from its own AssumeRole.

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::document::Place;
use crate::stand::{Failure, Outcome, ensure};

/// What AssumeRole gives.
pub struct Session {
    pub key: String,
    pub secret: String,
    pub token: String,
}

/// Asks for credentials that end by themselves.
pub async fn assume_role(place: &Place) -> Outcome<Session> {
    let minio = &place.stand.minio;
    let body = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600";
    let mut request = HttpRequest::new(HttpRequestBody::from(body.to_owned()));
    *request.method_mut() = reqwest::Method::POST;
    *request.uri_mut() = minio.endpoint.parse().map_err(|_| Failure("no address".into()))?;
    let kind = reqwest::header::HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(reqwest::header::CONTENT_TYPE, kind);
    let credential =
        AwsCredential { key_id: minio.access_key.clone(), secret_key: minio.secret_key.clone(), token: None };
    AwsAuthorizer::new(&credential, "sts", "us-east-1").try_authorize(&mut request, None)?;

    let ca = std::fs::read(place.secured.certificates.join("ca.pem"))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
        .build()?;
    let (parts, _) = request.into_parts();
    let answer = client.post(&minio.endpoint).headers(parts.headers).body(body).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure(status.is_success(), || format!("AssumeRole: {status} {text}"))?;
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_default();
        rest.split_once("</").unwrap_or_default().0.to_owned()
    };
    Ok(Session {
        key: element("AccessKeyId"),
        secret: element("SecretAccessKey"),
        token: element("SessionToken"),
    })
}
