//! A browser: keeps the session's cookie, and says from whose page it asks.

use reqwest::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Reply, Rig};
use crate::worker::client;

/// A password nobody else has.
pub(crate) const PASSWORD: &str = "a password of some length";

/// One browser.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    url: String,
    /// The cookie it keeps, as `name=value`.
    pub(crate) cookie: Option<String>,
    /// What it says of itself beside the cookie.
    pub(crate) says: Vec<(&'static str, String)>,
}

impl Browser {
    /// One that is on our own pages and not signed in.
    pub(crate) fn new(rig: &Rig) -> Self {
        Self { url: rig.url.clone(), cookie: None, says: vec![("sec-fetch-site", "same-origin".to_owned())] }
    }

    /// One that has just signed up with this address.
    pub(crate) async fn signed_up(rig: &Rig, email: &str) -> Self {
        let mut browser = Self::new(rig);
        let made = browser.post("/api/v1/auth/signup", credentials(email, PASSWORD)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        browser
    }

    /// The same browser, which says something else of itself.
    pub(crate) fn saying(&self, says: &[(&'static str, &str)]) -> Self {
        let says = says.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { says, ..self.clone() }
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = client().request(method, format!("{}{path}", self.url));
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        for (name, value) in &self.says {
            request = request.header(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        if let Some(set) = reply.headers.get(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            self.cookie = (!pair.ends_with('=')).then_some(pair);
        }
        reply
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// Signs in; what came back.
    pub(crate) async fn sign_in(&mut self, email: &str, password: &str) -> Reply {
        self.post("/api/v1/auth/login", credentials(email, password)).await
    }
}

/// What signing in and up take.
pub(crate) fn credentials(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}
