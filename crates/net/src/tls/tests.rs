//! Certificates from files: taken, refused by name, replaced.

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { cert_file: self.0.path().join("cert.pem"), key_file: self.0.path().join("key.pem") }
    }

    /// Writes a certificate that is valid in these years.
    fn write(&self, years: (i32, i32)) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(self.files().cert_file, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(self.files().key_file, key.serialize_pem()).unwrap();
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_the_key_of_the_configuration() {
    let check = |spoil: &dyn Fn(&TlsFiles), name: &str| {
        let folder = Folder::new();
        folder.write((2020, 2100));
        spoil(&folder.files());
        let error = folder.files().load(now_s()).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    check(&|files| remove(&files.cert_file), "tls.cert_file");
    check(&|files| remove(&files.key_file), "tls.key_file");
    check(&|files| std::fs::write(&files.cert_file, "").unwrap(), "tls.cert_file");
    check(&|files| std::fs::write(&files.cert_file, "-----BEGIN CERTIFICATE-----\n").unwrap(), "tls.cert_file");
    check(&|files| std::fs::write(&files.key_file, "nonsense").unwrap(), "tls.key_file");
    let foreign = rcgen::KeyPair::generate().unwrap().serialize_pem();
    check(&|files| std::fs::write(&files.key_file, &foreign).unwrap(), "tls.key_file");
    for years in [(2001, 2002), (2099, 2100)] {
        let folder = Folder::new();
        folder.write(years);
        let error = folder.files().load(now_s()).unwrap_err();
        assert!(matches!(error, TlsError::NotValidNow { .. }), "{error}");
    }
}

#[test]
fn a_new_file_is_taken_and_a_bad_one_leaves_the_old() {
    let folder = Folder::new();
    folder.write((2020, 2100));
    let certificate = Certificate::new(folder.files().load(now_s()).unwrap());
    let first = certificate.fingerprint();
    assert_eq!(first.len(), 64);
    std::fs::write(folder.files().key_file, "nonsense").unwrap();
    certificate.reload(&folder.files());
    assert_eq!(certificate.fingerprint(), first);
    folder.write((2020, 2100));
    certificate.reload(&folder.files());
    assert_ne!(certificate.fingerprint(), first);
}

#[test]
fn a_generated_certificate_is_kept_and_its_key_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let dir = folder.0.path().join("tls");
    let made = Certificate::new(generated(&dir, &["localhost"]).unwrap()).fingerprint();
    let kept = Certificate::new(generated(&dir, &["localhost"]).unwrap()).fingerprint();
    assert_eq!(made, kept);
    let mode = std::fs::metadata(dir.join("generated-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
