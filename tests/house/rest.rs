//! Records, as an operator's program manages them.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{House, SOON, until};

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

/// A driver with its token.
#[derive(Clone)]
pub struct Driver {
    pub id: String,
    pub token: String,
}

/// A trip with the topics it has.
#[derive(Clone)]
pub struct Trip {
    pub id: String,
    pub topic: String,
    pub ops: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text))
    }

    /// The error's code, or what stands in its place.
    pub fn code(&self) -> String {
        serde_json::from_str::<Value>(&self.text)
            .ok()
            .and_then(|body| body["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl House {
    pub async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Self::answer(request).await
    }

    pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
        let response = request.timeout(SOON).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// With the service key, expecting success.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.done("POST", path, body).await
    }

    pub async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, Some(&self.key), Some(&body)).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text);
        if answer.text.is_empty() { Value::Null } else { answer.json() }
    }

    pub async fn token(&self, role: &str, sub: &str) -> String {
        self.issue(role, sub, 3600).await.1
    }

    /// A token and its id.
    pub async fn issue(&self, role: &str, sub: &str, ttl_s: i64) -> (String, String) {
        let issued = self.post("/v1/tokens", json!({ "role": role, "sub": sub, "ttl_s": ttl_s })).await;
        let token = issued["token"].as_str().unwrap().to_owned();
        self.note_token(&token);
        (issued["id"].as_str().unwrap().to_owned(), token)
    }

    pub async fn ticket(&self, token: &str) -> String {
        let answer = self.call("POST", "/v1/tickets", Some(token), None).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
        self.note_token(&ticket);
        ticket
    }

    /// A courier on a bicycle, on shift for the last two hours.
    pub async fn driver(&self, name: &str) -> Driver {
        let since_ms = crate::harness::now_ms() - 7_200_000;
        let body = json!({ "name": name, "vehicle": "bicycle", "available": true, "available_since_ms": since_ms });
        let id = self.post("/v1/drivers", body).await["id"].as_str().unwrap().to_owned();
        let token = self.token("driver", &id).await;
        self.knows_driver(&id, |_| true).await;
        Driver { id, token }
    }

    pub async fn store(&self, name: &str) -> String {
        let body = json!({ "name": name, "lat": 41.1496, "lon": -8.611 });
        self.post("/v1/stores", body).await["id"].as_str().unwrap().to_owned()
    }

    /// A trip of the customer `cus`, on its driver's plan when this returns.
    pub async fn trip(&self, driver: Option<&Driver>, store: Option<&str>) -> Trip {
        let body = json!({
            "customer": "cus", "driver": driver.map(|driver| &driver.id), "store": store, "reference": "A 17",
            "pickup": { "lat": crate::ride::PICKUP.0, "lon": crate::ride::PICKUP.1, "name": "Kitchen" },
            "dropoff": { "lat": crate::ride::DROPOFF.0, "lon": crate::ride::DROPOFF.1, "name": "Home" },
        });
        let id = self.post("/v1/trips", body).await["id"].as_str().unwrap().to_owned();
        if let Some(driver) = driver {
            self.knows_driver(&driver.id, |state| {
                state["trips"].as_array().is_some_and(|trips| trips.iter().any(|trip| *trip == id))
            })
            .await;
        } else {
            until(SOON, "the trip's topic", async || self.peek(&format!("trip:{id}")).await).await;
        }
        Trip { topic: format!("trip:{id}"), ops: format!("trip:{id}:ops"), id }
    }

    /// A topic's state as the service key sees it now; `None` if there is none.
    pub async fn peek(&self, topic: &str) -> Option<Value> {
        let answer = self.call("GET", &format!("/v1/watch/poll?topics={topic}"), Some(&self.key), None).await;
        match answer.status {
            200 => Some(answer.json()["topics"][0]["state"].clone()),
            410 => Some(answer.json()["state"].clone()),
            _ => None,
        }
    }

    /// Waits until the driver's topic shows what was changed. The relay tells a plan before this topic.
    pub async fn knows_driver(&self, id: &str, wanted: impl Fn(&Value) -> bool) {
        let topic = format!("driver:{id}");
        until(SOON, "the driver's topic", async || self.peek(&topic).await.filter(|state| wanted(state))).await;
    }

    /// Sends one message of fixes by POST, expecting that it is taken, and returns the verdicts.
    pub async fn post_fixes(&self, driver: &Driver, fixes: &[Value]) -> Vec<String> {
        let answer = self.call("POST", "/v1/fixes", Some(&driver.token), Some(&json!({ "fixes": fixes }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        texts(&answer.json()["verdicts"])
    }
}

/// A list of texts.
pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}
