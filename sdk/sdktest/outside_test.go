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

func TestFetchOfACall(t *testing.T) {
	c := Call{Fetch: func(r *sdk.Request) (*sdk.Response, error) {
		return &sdk.Response{Status: 200, Header: []sdk.Header{{Name: "A", Value: r.Method}}, Body: []byte(r.URL)}, nil
	}}
	fetch := func(ctx context.Context, _ []byte) ([]byte, error) {
		r, err := sdk.Fetch(ctx, &sdk.Request{URL: "http://a/b"})
		if err != nil {
			return nil, err
		}
		return append(r.Body, r.Get("a")+r.Get("none")...), nil
	}
	if got, err := c.Invoke(t, fetch, nil); string(got) != "http://a/bGET" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Invoke(t, fetch, nil); err == nil || err.Error() != "error: fetch: not granted" {
		t.Errorf("%v", err)
	}
}

func TestStateOfACall(t *testing.T) {
	state := Tables{"seen": {"a": "1", "b": "2"}, "new": nil}
	c := Call{Tables: state}
	fail := errors.New("fail")
	run := func(err error) {
		got := c.Batch(t, func(ctx context.Context, _ *sdk.Batch) error {
			table := sdk.State(ctx, "seen")
			a, e := table.Get("a")
			if string(a.Value) != "1" || e != nil {
				t.Errorf("%+v, %v", a, e)
			}
			if _, e := table.Get("c"); !errors.Is(e, sdk.ErrNotFound) {
				t.Error(e)
			}
			revision, e := table.CAS("a", []byte("x"), a.Revision)
			if e != nil {
				t.Error(e)
			}
			if _, e := table.CAS("a", []byte("y"), a.Revision); !errors.Is(e, sdk.ErrConflict) {
				t.Errorf("by an old revision: %v", e)
			}
			if e := table.CASDelete("a", sdk.Absent); !errors.Is(e, sdk.ErrConflict) {
				t.Errorf("expected absent: %v", e)
			}
			if _, e := table.CAS("a", []byte("z"), revision); e != nil {
				t.Error(e)
			}
			if e := errors.Join(table.Put("c", nil), table.Delete("b"), table.Delete("none"), sdk.State(ctx, "new").Put("k", []byte("v"))); e != nil {
				t.Error(e)
			}
			keys := ""
			for entry, e := range table.List("") {
				keys += entry.Key + "=" + string(entry.Value) + " "
				if e != nil || entry.Revision < 1 {
					t.Errorf("%+v, %v", entry, e)
				}
			}
			if keys != "a=z c= " {
				t.Errorf("listed %s", keys)
			}
			for _, e := range sdk.State(ctx, "other").List("") {
				if !errors.Is(e, sdk.ErrDenied) {
					t.Errorf("a table that is not granted: %v", e)
				}
			}
			if e := table.Put("", nil); !errors.Is(e, sdk.ErrInvalid) {
				t.Error(e)
			}
			if e := table.Put("k", make([]byte, maxValue+1)); !errors.Is(e, sdk.ErrInvalid) {
				t.Error(e)
			}
			return err
		})
		if (got.Err != nil) != (err != nil) {
			t.Errorf("%v", got.Err)
		}
	}
	run(fail)
	if len(state["seen"]) != 2 || state["seen"]["a"] != "1" || state["new"] != nil {
		t.Errorf("after a call that failed: %v", state)
	}
	run(nil)
	if len(state["seen"]) != 2 || state["seen"]["a"] != "z" || state["new"]["k"] != "v" {
		t.Errorf("after a call: %v", state)
	}
}
