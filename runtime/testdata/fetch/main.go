// Fetch is a function that makes an HTTP request: the body of a direct invocation is the method and the URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnInvoke(func(ctx context.Context, in []byte) ([]byte, error) {
		method, url, _ := strings.Cut(string(in), " ")
		r, err := sdk.Fetch(ctx, &sdk.Request{Method: method, URL: url, Header: []sdk.Header{{Name: "X-A", Value: "1"}}, Body: []byte("sent")})
		for _, known := range []error{sdk.ErrDenied, sdk.ErrInvalid, sdk.ErrUnavailable} {
			if errors.Is(err, known) {
				return fmt.Appendf(nil, "%v | %v", known, err), nil
			}
		}
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, "%d %s %s", r.Status, r.Get("x-b"), r.Body), nil
	})
}

func main() {}
