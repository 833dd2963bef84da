//! Pictures of menus: from a restaurant's phone on a bad line into the menu, and everything that is refused on the way.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{House, SOON, until};
use crate::picture::{Tus, jpeg, photo, told};
use crate::watch::{EventSource, Poller, Watcher};

/// How far along a state is.
fn place(state: &Value) -> usize {
    let order = ["receiving", "queued", "decoding", "encoding", "storing", "done"];
    order.iter().position(|known| state == *known).unwrap_or_else(|| panic!("{state}"))
}

#[tokio::test]
async fn a_photograph_comes_through_the_tunnel_into_the_menu() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let bytes = photo();
    let members = [("filename", "IMG_0042.HEIC"), ("item", "bacalhau"), ("preset", "5:4"), ("focus", "0.5,0.4")];
    let upload = Tus::begin(&house, &token, bytes.len(), &members).await;
    let topic = upload.topic();

    let mut watcher = Watcher::open(&house, &token).await;
    watcher.subscribe(&[&topic]).await;
    let mut stream = EventSource::open(&house, &token, &[&topic]).await;
    let mut poller = Poller::new(&house, &token, &[&topic]);
    watcher.until("the beginning", |memory| memory.state(&topic)["state"] == "receiving").await;
    poller.until(&house, "the beginning", |memory| memory.state(&topic)["received"] == 0).await;

    // Three tunnels: each time the line breaks in the middle of a request that promised all the rest.
    for share in [4, 3, 2] {
        let from = upload.offset().await;
        let part = (bytes.len() - from) / share;
        let line = upload.broken_patch(from, bytes.len() - from, &bytes[from..from + part]).await;
        until(SOON, "what came is kept", async || (upload.offset().await > from + part / 2).then_some(())).await;
        drop(line);
        // What had come by then is kept as well.
        until(SOON, "the offset rests", async || {
            let before = upload.offset().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            (upload.offset().await == before).then_some(())
        })
        .await;
    }
    // A client that did not hear how much was kept is told so, and nothing is taken twice.
    let from = upload.offset().await;
    assert!(from > 0 && from < bytes.len());
    let wrong = upload.patch(from - 1, &bytes[from - 1..]).await;
    assert_eq!((wrong.status, wrong.code()), (409, "conflict".into()));
    let from = upload.offset().await;
    assert_eq!(upload.patch(from, &bytes[from..]).await.status, 204);

    // Whoever watches sees every state in its order, and the end.
    let mut seen = vec![0];
    while !watcher.memory.ended(&topic) {
        watcher.step().await.expect("the connection lives");
        seen.push(place(&watcher.memory.state(&topic)["state"]));
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.iter().collect::<HashSet<_>>().len() >= 4, "{seen:?}");
    stream.ended().await;
    poller.until(&house, "the end", |memory| memory.ended(&topic)).await;
    let last = watcher.memory.state(&topic).clone();
    assert_eq!((&last["state"], &last["received"]), (&json!("done"), &json!(bytes.len())));

    let record = upload.record().await;
    assert_eq!((&record["state"], &record["picture"]), (&json!("done"), &last["picture"]));
    let images =
        house.call("GET", &format!("/v1/stores/{store}/menu/bacalhau/images"), Some(&token), None).await.json();
    assert_eq!(images["images"], json!([last["picture"]]));
    let image = &images["images"][0];
    assert_eq!((&image["width"], &image["height"]), (&json!(4032), &json!(3024)));
    assert!(image["placeholder"].as_str().unwrap().len() > 20 && image["colour"].as_str().unwrap().starts_with('#'));
    let types: Vec<&Value> = image["sources"].as_array().unwrap().iter().map(|source| &source["type"]).collect();
    assert_eq!(types, ["image/webp", "image/jpeg"]);
    assert_eq!(image["src"], image["sources"][1]["files"][1]["url"]);
    for source in image["sources"].as_array().unwrap() {
        let files = source["files"].as_array().unwrap();
        let sizes: Vec<_> =
            files.iter().map(|file| (file["width"].as_u64().unwrap(), file["height"].as_u64().unwrap())).collect();
        assert_eq!(sizes, [(320, 256), (640, 512), (1280, 1024)]);
        for file in files {
            served(&house, file, source["type"].as_str().unwrap()).await;
        }
    }
    let events = told(&house, &store, 1).await;
    assert_eq!((&events[0]["state"], &events[0]["item"]), (&json!("done"), &json!("bacalhau")));
    assert_eq!(events[0]["picture"], *image);
    house.assert_clean_log();
}

/// A file is public, has its type, never changes, and comes in parts to who wants parts.
async fn served(house: &House, file: &Value, content_type: &str) {
    let url = house.url(file["url"].as_str().unwrap());
    let answer = house.http.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |answer: &reqwest::Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(&answer, "content-type"), content_type);
    assert_eq!(header(&answer, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    let etag = header(&answer, "etag");
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(json!(bytes.len()), file["bytes"]);
    let part = house.http.get(&url).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, format!("bytes 10-19/{}", bytes.len())));
    assert_eq!(part.bytes().await.unwrap(), bytes.slice(10..20));
    let beyond = house.http.get(&url).header("range", format!("bytes={}-", bytes.len())).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    let known = house.http.get(&url).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(known.status(), 304);
    let head = house.http.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, bytes.len().to_string()));
}

#[tokio::test]
async fn the_same_picture_is_made_once() {
    let house = House::start().await;
    let (store, other) = (house.store("Tasca").await, house.store("Cantina").await);
    let token = house.token("store", &store).await;
    let bytes = jpeg(900, 700, 1);
    let first = Tus::send(&house, &token, &bytes, &[("item", "a")]).await;
    let second = Tus::send(&house, &token, &bytes, &[("item", "b")]).await;
    let (first, second) = (first.ended().await, second.ended().await);
    let third = Tus::send(&house, &token, &bytes, &[("item", "a")]).await.ended().await;
    for record in [&second, &third] {
        assert_eq!(record["picture"]["sources"], first["picture"]["sources"]);
    }
    assert_eq!(house.metric("wayfare_media_pictures_total", "made").await, 1.0);
    // Another shape, or another store, is another picture.
    let square = Tus::send(&house, &token, &bytes, &[("preset", "1:1")]).await.ended().await;
    assert_ne!(square["picture"]["sources"], first["picture"]["sources"]);
    let foreign = Tus::send(&house, &house.key, &bytes, &[("store", &*other)]).await.ended().await;
    assert_ne!(foreign["picture"]["sources"], first["picture"]["sources"]);
    assert_eq!(house.metric("wayfare_media_pictures_total", "made").await, 3.0);
    told(&house, &store, 4).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_file_that_will_not_do_is_refused_in_words() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic0000000000000000".to_vec();
    let mut cut = jpeg(600, 400, 1);
    cut.truncate(4_000);
    for (bytes, code, word) in [
        (heic, "unsupported_format", "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec(), "unsupported_format", "SVG"),
        (cut, "truncated", "ends too early"),
        (jpeg(12, 12, 1), "too_small", "12"),
    ] {
        let upload = Tus::send(&house, &token, &bytes, &[("item", "a")]).await;
        let record = upload.ended().await;
        assert_eq!((&record["state"], &record["error"]["code"]), (&json!("failed"), &json!(code)));
        assert!(record["error"]["message"].as_str().unwrap().contains(word), "{record}");
        // Again: known without a worker.
        let again = Tus::send(&house, &token, &bytes, &[]).await.ended().await;
        assert_eq!(again["error"], record["error"]);
        let mut poller = Poller::new(&house, &token, &[&upload.topic()]);
        poller.until(&house, "the end is told to who comes late", |memory| memory.ended(&upload.topic())).await;
    }
    let images = house.call("GET", &format!("/v1/stores/{store}/menu/a/images"), Some(&token), None).await.json();
    assert_eq!(images, json!({ "images": [] }));
    assert!(told(&house, &store, 8).await.iter().all(|event| event["state"] == "failed"));
    house.assert_clean_log();
}

#[tokio::test]
async fn tus_is_spoken_to_the_letter() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let about = House::answer(house.http.request(reqwest::Method::OPTIONS, house.url("/v1/uploads"))).await;
    assert_eq!((about.status, about.header("tus-version"), about.header("tus-max-size")), (204, "1.0.0", "20000000"));
    assert_eq!(about.header("tus-extension"), "creation,creation-with-upload,checksum,expiration,termination");
    assert_eq!(about.header("tus-checksum-algorithm"), "sha1,sha256");

    // Creation with the first bytes, or with all.
    let bytes = jpeg(300, 200, 1);
    let answer = Tus::create(&house, &token, &bytes.len().to_string(), &[], Some(bytes[..100].to_vec())).await;
    assert_eq!((answer.status, answer.header("upload-offset")), (201, "100"));
    let answer = Tus::create(&house, &token, &bytes.len().to_string(), &[], Some(bytes.clone())).await;
    assert_eq!((answer.status, answer.header("upload-offset")), (201, &*bytes.len().to_string()));

    // What cannot be an upload is refused before a byte.
    for (length, members, status, code) in [
        ("20000001", vec![], 413, "too_large"),
        ("0", vec![], 422, "invalid"),
        ("-5", vec![], 422, "invalid"),
        ("99999999999999999999999", vec![], 422, "invalid"),
        ("10", vec![("preset", "2:1")], 422, "invalid"),
        ("10", vec![("focus", "2,0")], 422, "invalid"),
        ("10", vec![("focus", "NaN,0")], 422, "invalid"),
        ("10", vec![("item", "../../etc")], 422, "invalid"),
        ("10", vec![("item", "a%2e%2e/b\0")], 422, "invalid"),
        ("10", vec![("store", "sto_00000000000000000000000000")], 404, "not_found"),
    ] {
        let answer = Tus::create(&house, &token, length, &members, None).await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{length} {members:?}: {}", answer.text);
    }
    let too_long = Tus::create(&house, &token, "50", &[], Some(vec![0; 60])).await;
    assert_eq!(too_long.status, 413);
    let no_store = Tus::create(&house, &house.key, "50", &[], None).await;
    assert_eq!((no_store.status, no_store.json()["field"].clone()), (422, json!("store")));

    let upload = Tus::begin(&house, &token, 1_000, &[]).await;
    let octets = ("content-type", "application/offset+octet-stream");
    let wrong = upload.ask("PATCH", &[("upload-offset", "0"), ("content-type", "image/jpeg")], vec![1]).await;
    assert_eq!(wrong.status, 415);
    assert_eq!(upload.ask("PATCH", &[octets], vec![1]).await.status, 400);
    assert_eq!(upload.patch(0, &[0; 1_001]).await.status, 413);
    assert_eq!(upload.patch(5, &[0; 10]).await.status, 409);
    let version = house.http.head(house.url(&format!("/v1/uploads/{}", upload.id))).bearer_auth(&token);
    let version = House::answer(version.header("tus-resumable", "0.2.2")).await;
    assert_eq!((version.status, version.header("tus-version")), (412, "1.0.0"));
    assert_eq!(upload.offset().await, 0);

    // A checksum that is wrong drops the bytes of its request, and leaves the offset where it was.
    let check = |sum: &'static str| [("upload-offset", "0"), octets, ("upload-checksum", sum)];
    let hello = b"hello world".to_vec();
    let bad = upload.ask("PATCH", &check("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="), hello.clone()).await;
    assert_eq!((bad.status, upload.offset().await), (460, 0));
    for (sum, status) in [("md5 AAAA", 400), ("sha1", 400), ("sha1 !!!", 400)] {
        assert_eq!(upload.ask("PATCH", &check(sum), hello.clone()).await.status, status, "{sum}");
    }
    let good = upload.ask("PATCH", &check("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="), hello).await;
    assert_eq!((good.status, good.header("upload-offset")), (204, "11"));

    // Termination: gone for good.
    assert_eq!(upload.ask("DELETE", &[], Vec::new()).await.status, 204);
    for method in ["HEAD", "DELETE"] {
        assert_eq!(upload.ask(method, &[], Vec::new()).await.status, 410);
    }
    assert_eq!(upload.patch(11, &[0]).await.status, 410);
    assert_eq!(upload.record().await["state"], "cancelled");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_store_reaches_its_own_uploads_only_and_within_its_limits() {
    let settings = [("MEDIA_OPEN_PER_STORE", "3"), ("MEDIA_RECEIVING_PER_USER", "2"), ("MEDIA_UPLOAD_MB_MAX", "1")];
    let house = House::start_with(&settings).await;
    let (store, other) = (house.store("Tasca").await, house.store("Cantina").await);
    let (token, foreign) = (house.token("store", &store).await, house.token("store", &other).await);
    let upload = Tus::begin(&house, &token, 1_000, &[]).await;
    let stranger = Tus { house: &house, token: foreign.clone(), id: upload.id.clone() };
    for method in ["HEAD", "DELETE"] {
        assert_eq!(stranger.ask(method, &[], Vec::new()).await.status, 404, "{method}");
    }
    assert_eq!(stranger.patch(0, &[0]).await.status, 404);
    let path = format!("/v1/uploads/{}", upload.id);
    assert_eq!(house.call("GET", &path, Some(&foreign), None).await.status, 404);
    let menu = format!("/v1/stores/{store}/menu/a/images");
    assert_eq!(house.call("GET", &menu, Some(&foreign), None).await.status, 404);
    let mut poller = Poller::new(&house, &foreign, &[&upload.topic()]);
    assert_eq!(poller.poll(&house).await.unwrap().status, 404);
    let (customer, driver) = (house.token("customer", "cus-1").await, house.driver("Ana").await);
    for token in [&customer, &driver.token] {
        assert_eq!(Tus::create(&house, token, "10", &[("store", &store)], None).await.status, 403);
    }
    // One user may have two that are unfinished, a store three that have not ended.
    Tus::begin(&house, &token, 1_000, &[]).await;
    let third = Tus::create(&house, &token, "10", &[], None).await;
    assert_eq!((third.status, third.code()), (429, "rate_limited".into()));
    assert!(!third.header("retry-after").is_empty());
    Tus::begin(&house, &house.key, 1_000, &[("store", &*store)]).await;
    assert_eq!(Tus::create(&house, &house.key, "10", &[("store", &store)], None).await.status, 429);
    assert_eq!(Tus::create(&house, &house.key, "1000001", &[("store", &other)], None).await.status, 413);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_small_file_comes_as_a_form_and_the_menu_is_put_in_order() {
    let house = House::start_with(&[("MEDIA_UNUSED_KEEP_HOURS", "0.001")]).await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let mut uploads = Vec::new();
    for seed in 1..=2_u64 {
        let form = form(&[("item", "a"), ("preset", "1:1")], &jpeg(500, 400, seed));
        let request = house.http.post(house.url("/v1/uploads")).bearer_auth(&token);
        let request = request.header("content-type", "multipart/form-data; boundary=cut").body(form);
        let answer = House::answer(request).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        uploads.push(Tus { house: &house, token: token.clone(), id });
        assert_eq!(uploads[uploads.len() - 1].ended().await["state"], "done");
    }
    let menu = format!("/v1/stores/{store}/menu/a/images");
    let ids = async || {
        let images = house.call("GET", &menu, Some(&token), None).await.json();
        let list = images["images"].as_array().unwrap().clone();
        list.iter().map(|image| image["upload"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (first, second) = (uploads[0].id.clone(), uploads[1].id.clone());
    assert_eq!(ids().await, [first.clone(), second.clone()]);
    house.done("PUT", &menu, json!({ "uploads": [second, first] })).await;
    assert_eq!(ids().await, [second.clone(), first.clone()]);
    for (list, status) in [
        (json!([first, first]), 422),
        (json!(["upl_00000000000000000000000000"]), 422),
        (json!(vec!["upl_00000000000000000000000000"; 11]), 413),
    ] {
        let answer = house.call("PUT", &menu, Some(&token), Some(&json!({ "uploads": list }))).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    // What is taken out goes after its time, files and all; what is shown stays.
    let gone = uploads[0].record().await["picture"]["src"].as_str().unwrap().to_owned();
    let kept = uploads[1].record().await["picture"]["src"].as_str().unwrap().to_owned();
    house.done("PUT", &menu, json!({ "uploads": [second] })).await;
    let status = async |url: &str| house.http.get(house.url(url)).send().await.unwrap().status().as_u16();
    until(Duration::from_secs(60), "the old picture is swept", async || (status(&gone).await == 404).then_some(()))
        .await;
    assert_eq!(status(&kept).await, 200);
    assert_eq!(ids().await, [second]);
    let originals = house.data().join(format!("files/stores/{store}/originals"));
    assert_eq!(originals.read_dir().unwrap().count(), 1);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_form_may_hold_five_megabytes() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    // What hangs behind the end of a picture is no part of it.
    let mut bytes = jpeg(500, 400, 1);
    for (length, status) in [(5_000_000, 201), (5_000_001, 413), (5_300_000, 413)] {
        bytes.resize(length, 0);
        // The house does not read a form that is too large to its end: that connection is of no more use.
        let request = reqwest::Client::new().post(house.url("/v1/uploads")).bearer_auth(&token);
        let request = request.header("content-type", "multipart/form-data; boundary=cut").body(form(&[], &bytes));
        let answer = House::answer(request).await;
        assert_eq!(answer.status, status, "{length}: {}", answer.text);
        if status == 413 {
            assert_eq!(answer.code(), "too_large");
        }
    }
    told(&house, &store, 1).await;
    house.assert_clean_log();
}

fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, value) in fields {
        form.extend_from_slice(
            format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    }
    let name = "Content-Disposition: form-data; name=\"file\"; filename=\"../../a.jpg\"";
    form.extend_from_slice(format!("--cut\r\n{name}\r\nContent-Type: image/jpeg\r\n\r\n").as_bytes());
    form.extend_from_slice(file);
    form.extend_from_slice(b"\r\n--cut--\r\n");
    form
}

#[tokio::test]
async fn an_upload_that_nobody_completes_expires_and_leaves_nothing() {
    let house = House::start_with(&[("MEDIA_EXPIRE_HOURS", "0.001")]).await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let upload = Tus::begin(&house, &token, 1_000, &[]).await;
    assert_eq!(upload.patch(0, &[7; 500]).await.status, 204);
    let record = upload.ended().await;
    assert_eq!((&record["state"], &record["received"]), (&json!("expired"), &json!(500)));
    assert_eq!(upload.patch(500, &[7; 500]).await.status, 410);
    let folder = house.data().join(format!("files/stores/{store}"));
    until(SOON, "its pieces go", async || (!folder.exists()).then_some(())).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_menu_lists_its_items_with_their_pictures() {
    let house = House::start().await;
    let (store, other) = (house.store("Tasca").await, house.store("Cantina").await);
    let (token, foreign) = (house.token("store", &store).await, house.token("store", &other).await);
    let menu = format!("/v1/stores/{store}/menu");
    let list = async |query: &str| house.call("GET", &format!("{menu}{query}"), Some(&token), None).await;
    assert_eq!(list("").await.json(), json!({ "items": [] }));
    let mut pictures = Vec::new();
    for (seed, item) in ["caldo-verde", "bacalhau", "bacalhau", "arroz.doce"].into_iter().enumerate() {
        let upload = Tus::send(&house, &token, &jpeg(400, 300, seed as u64), &[("item", item)]).await;
        pictures.push(upload.ended().await["picture"].clone());
    }
    // What was put to another dish is listed there.
    let moved = json!({ "uploads": [pictures[3]["upload"], pictures[0]["upload"]] });
    house.done("PUT", &format!("{menu}/sobremesa/images"), moved).await;
    house.done("PUT", &format!("{menu}/arroz.doce/images"), json!({ "uploads": [] })).await;
    let all = json!([
        { "item": "bacalhau", "images": [pictures[1], pictures[2]] },
        { "item": "caldo-verde", "images": [pictures[0]] },
        { "item": "sobremesa", "images": [pictures[3], pictures[0]] },
    ]);
    assert_eq!(list("").await.json(), json!({ "items": all }));
    let page = list("?limit=2").await.json();
    assert_eq!(page, json!({ "items": [all[0], all[1]], "next": "caldo-verde" }));
    assert_eq!(list("?limit=2&cursor=caldo-verde").await.json(), json!({ "items": [all[2]] }));
    assert_eq!(list("?limit=0").await.status, 422);
    let customer = house.token("customer", "cus-1").await;
    assert_eq!(house.call("GET", &menu, Some(&customer), None).await.json(), json!({ "items": all }));
    assert_eq!(house.call("GET", &menu, Some(&foreign), None).await.status, 404);
    let none = house.call("GET", &format!("/v1/stores/{other}/menu"), Some(&foreign), None).await;
    assert_eq!(none.json(), json!({ "items": [] }));
    house.assert_clean_log();
}
