// Command bench-peer is the official Go SDK as a benchmark peer: one tool behind a verified RS256
// access token.
package main

import (
	"context"
	"crypto/rsa"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type operands struct {
	A int `json:"a"`
	B int `json:"b"`
}

type sum struct {
	Total int `json:"total"`
}

type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

func add(_ context.Context, _ *mcp.CallToolRequest, in operands) (*mcp.CallToolResult, sum, error) {
	return nil, sum{Total: in.A + in.B}, nil
}

// verifier accepts RS256 tokens of one issuer for one audience that have not expired.
func verifier(key *rsa.PublicKey, issuer, audience string) auth.TokenVerifier {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
	)
	find := func(*jwt.Token) (any, error) { return key, nil }
	return func(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
		var said claims
		if _, err := parser.ParseWithClaims(token, &said, find); err != nil {
			return nil, fmt.Errorf("%w: %v", auth.ErrInvalidToken, err)
		}
		return &auth.TokenInfo{
			Scopes:     strings.Fields(said.Scope),
			Expiration: said.ExpiresAt.Time,
			UserID:     said.Subject,
		}, nil
	}
}

func publicKey(path string) (*rsa.PublicKey, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return jwt.ParseRSAPublicKeyFromPEM(pem)
}

func main() {
	key, err := publicKey(os.Getenv("BENCH_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1.0.0"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "add", Description: "Add two numbers."}, add)
	handler := mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true},
	)
	verify := verifier(key, os.Getenv("BENCH_ISSUER"), os.Getenv("BENCH_AUDIENCE"))
	guard := auth.RequireBearerToken(verify, &auth.RequireBearerTokenOptions{Scopes: []string{"mcp:read"}})
	mux := http.NewServeMux()
	mux.Handle("/mcp", guard(handler))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("BENCH_PORT"), mux))
}
