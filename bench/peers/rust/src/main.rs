//! The official Rust SDK as a benchmark peer: one tool behind a verified RS256 access token.

use std::{env, error::Error, fs, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rmcp::{
    Json, ServerHandler,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    schemars::JsonSchema,
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Operands {
    a: i64,
    b: i64,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    total: i64,
}

/// The server: its router is shared, so that a clone per request costs one reference count.
#[derive(Clone)]
struct Bench {
    router: Arc<ToolRouter<Self>>,
}

#[tool_router]
impl Bench {
    #[tool(name = "add", description = "Add two numbers.")]
    async fn add(&self, Parameters(Operands { a, b }): Parameters<Operands>) -> Json<Sum> {
        Json(Sum { total: a + b })
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Bench {}

/// The claims that the endpoint reads; `iss`, `aud` and `exp` are checked by [`Validation`].
#[derive(Clone, Deserialize)]
struct Claims {
    scope: String,
}

/// The issuer's key and what a token must say to be accepted.
struct Verifier {
    key: DecodingKey,
    rules: Validation,
}

impl Verifier {
    fn new(pem: &[u8], issuer: &str, audience: &str) -> Result<Self, Box<dyn Error>> {
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        Ok(Self { key: DecodingKey::from_rsa_pem(pem)?, rules })
    }

    fn claims(&self, headers: &HeaderMap) -> Option<Claims> {
        let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        decode::<Claims>(token, &self.key, &self.rules).ok().map(|data| data.claims)
    }
}

async fn authorize(State(verifier): State<Arc<Verifier>>, mut request: Request, next: Next) -> Response {
    let Some(claims) = verifier.claims(request.headers()) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    };
    if !claims.scope.split(' ').any(|scope| scope == "mcp:read") {
        return StatusCode::FORBIDDEN.into_response();
    }
    request.extensions_mut().insert(claims);
    next.run(request).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let pem = fs::read(env::var("BENCH_KEY")?)?;
    let verifier = Verifier::new(&pem, &env::var("BENCH_ISSUER")?, &env::var("BENCH_AUDIENCE")?)?;
    let bench = Bench { router: Arc::new(Bench::tool_router()) };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(None);
    let service: StreamableHttpService<Bench, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(bench.clone()), Arc::default(), config);
    let app = Router::new()
        .nest_service("/mcp", service)
        .layer(from_fn_with_state(Arc::new(verifier), authorize));
    let address = format!("127.0.0.1:{}", env::var("BENCH_PORT")?);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
