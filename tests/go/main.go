// The official Go client does everything once: `clienttest URL TOKEN`.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	steps := make(chan float64, 16)
	updated := make(chan string, 16)
	changed := make(chan bool, 16)
	client := mcp.NewClient(&mcp.Implementation{Name: "go", Version: "1.0.0"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"username": "ann", "email": "ann@example.org"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			steps <- r.Params.Progress
		},
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) {
			updated <- r.Params.URI
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed <- true },
	})
	session := must(client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:   os.Args[1],
		HTTPClient: &http.Client{Transport: bearer{os.Args[2]}},
	}, nil))
	said := map[string]any{"revision": session.InitializeResult().ProtocolVersion}
	said["tools"] = len(must(session.ListTools(ctx, nil)).Tools)

	params := &mcp.CallToolParams{Name: "test_tool_with_progress", Arguments: map[string]any{}}
	params.SetProgressToken("p")
	must(session.CallTool(ctx, params))
	said["steps"] = []float64{<-steps, <-steps, <-steps}

	asked := must(session.CallTool(ctx, &mcp.CallToolParams{Name: "test_elicitation", Arguments: map[string]any{"message": "Who?"}}))
	said["answer"] = asked.Content[0].(*mcp.TextContent).Text

	if err := session.Subscribe(ctx, &mcp.SubscribeParams{URI: "test://watched-resource"}); err != nil {
		must(0, err)
	}
	for done := false; !done; {
		must(session.CallTool(ctx, &mcp.CallToolParams{Name: "touch_watched", Arguments: map[string]any{}}))
		select {
		case said["updated"] = <-updated:
			done = true
		case <-time.After(200 * time.Millisecond): // the subscription is opened beside us
		case <-ctx.Done():
			must(0, ctx.Err())
		}
	}
	must(session.CallTool(ctx, &mcp.CallToolParams{Name: "test_trigger_tool_change", Arguments: map[string]any{}}))
	select {
	case said["changed"] = <-changed:
	case <-ctx.Done():
		must(0, ctx.Err())
	}
	must(os.Stdout.Write(must(json.Marshal(said))))
}
