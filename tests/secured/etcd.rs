//! An etcd that shows a certificate and asks for a login, but for no certificate.

use tapedeck::source::CatalogSource;
use tapedeck::source::etcd::{EtcdCatalog, EtcdOptions};
use tapedeck::tls::Tls;

use crate::document::Place;
use crate::stand::{Outcome, ensure};

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_with_one_way_tls_and_a_login_works() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    let ca = std::fs::read_to_string(place.secured.certificates.join("ca.pem"))?;
    let options = |password: &str| EtcdOptions {
        endpoints: vec![format!("https://{}", place.secured.etcd_one_way)],
        root_path: place.stand.source.etcd_root.clone(),
        user: Some((place.secured.user.clone(), password.to_owned())),
        tls: Some(Tls { ca: Some(ca.clone()), ..Tls::default() }),
        ..EtcdOptions::default()
    };
    let identity = EtcdCatalog::connect(&options(&place.secured.password)).await?.identity().await?;
    ensure(identity.ends_with("/source/meta"), || identity)?;
    let error = EtcdCatalog::connect(&options("Hidden")).await.err().map(|error| error.message);
    let error = error.unwrap_or_default();
    ensure(error.contains("invalid user ID or password") && !error.contains("Hidden"), || error)
}
