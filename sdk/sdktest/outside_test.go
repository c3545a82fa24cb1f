package sdktest

import (
	"context"
	"errors"
	"testing"

	"github.com/shardmill/shardmill/sdk"
)

func TestSecretsOfACall(t *testing.T) {
	var kept context.Context
	c := Call{Secrets: map[string]string{"token": "s3cret"}}
	c.Batch(t, func(ctx context.Context, _ *sdk.Batch) error {
		kept = ctx
		value, err := sdk.Secret(ctx, "token")
		if string(value) != "s3cret" || err != nil {
			t.Errorf("%q, %v", value, err)
		}
		if _, err := sdk.Secret(ctx, "other"); !errors.Is(err, sdk.ErrDenied) || err.Error() != `secret "other": not granted` {
			t.Errorf("a secret that is not granted: %v", err)
		}
		return nil
	})
	if _, err := sdk.Secret(kept, "token"); !errors.Is(err, sdk.ErrNoCall) {
		t.Errorf("after the call: %v", err)
	}
	Batch(t, func(ctx context.Context, _ *sdk.Batch) error {
		if _, err := sdk.Secret(ctx, "token"); !errors.Is(err, sdk.ErrDenied) {
			t.Errorf("without secrets: %v", err)
		}
		return nil
	})
	defer func() {
		if recover() == nil {
			t.Error("a context that is no call's was taken")
		}
	}()
	_, _ = sdk.Secret(t.Context(), "token")
}
