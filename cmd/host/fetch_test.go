package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

const callerSource = `package main

import (
	"context"
	"fmt"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnInvoke(func(ctx context.Context, in []byte) ([]byte, error) {
		r, err := sdk.Fetch(ctx, &sdk.Request{Method: "POST", URL: string(in), Body: []byte("alert")})
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, "%d %s", r.Status, r.Body), nil
	})
}

func main() {}
`

// A function calls a server that it is granted and whose private address the operator has listed, and no other.
func TestFunctionsCallServers(t *testing.T) {
	t.Parallel()
	server := func() *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "got %s", body)
		}))
		t.Cleanup(s.Close)
		return s
	}
	listed, other := server(), server()
	dir := sdkFunction(t, "caller", callerSource)
	writeFile(t, filepath.Join(dir, manifestFile), "http: [\"POST "+listed.URL+"\"]\n")
	h := testHost(t, func(c *hostConfig) { c.functionHosts = []string{strings.TrimPrefix(listed.URL, "http://")} })
	play(t, h, map[string]string{"DIR": dir, "LISTED": listed.URL, "OTHER": other.URL}, []step{
		{line: "function deploy f DIR", stdout: `May call: +POST http://127.0.0.1:[0-9]+\n`},
		{line: "function invoke f LISTED/hook", stdout: `^200 got alert$`},
		{line: "function invoke f OTHER/hook", status: exitFailure, stderr: `not granted: it asked for "POST" of "http://127.0.0.1:[0-9]+", which`},
		{line: "function deploy f DIR --http 'POST OTHER'", stdout: `\+ it may call POST http://127.0.0.1:[0-9]+\n  - it may no longer call POST http`},
		{line: "function invoke f OTHER/hook", status: exitFailure, stderr: `127.0.0.1 is no public address, and its host is not listed by the operator \(--function-host\)`},
		{line: "function deploy f DIR --http 'POST nowhere'", status: exitFailure, stderr: `http is "POST nowhere"; it must be METHODS URL`},
		{line: "serve --function-host a/b", status: exitUsage, stderr: `--function-host: host is "a/b"`},
	})
}
