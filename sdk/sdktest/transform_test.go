package sdktest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/abi"
)

func TestTransform(t *testing.T) {
	var kept []byte
	upper := func(_ context.Context, tr *sdk.Transform) error {
		for i, r := range tr.All() {
			switch kept = r.Data; string(r.Data) {
			case "drop":
				tr.Drop(i, "unwanted")
			case "fail":
				return errors.New("failed")
			case "split":
				tr.Replace(i, sdk.Record{Key: []byte("1"), Data: []byte("s")})
				tr.Replace(i, sdk.Record{Key: []byte("2"), Data: []byte("plit")})
				tr.Emit("aside", "k", r.Data)
			}
		}
		return nil
	}
	got := Transform(t, upper, sdk.Record{Data: []byte("drop")}, sdk.Record{Data: []byte("split")}, sdk.Record{Key: []byte("k"), Data: []byte("as it is")})
	if got.Err != nil || got.Outcomes[0] != (Outcome{abi.ResultDropped, "unwanted"}) || got.Outcomes[1].Result != abi.ResultOK || len(got.Emitted["aside"]) != 1 {
		t.Fatalf("%+v", got)
	}
	if r := got.Records; len(r) != 3 || len(r[0]) != 0 || len(r[1]) != 2 || string(r[1][1].Data) != "plit" || string(r[1][1].Key) != "2" || len(r[2]) != 1 || string(r[2][0].Data) != "as it is" || string(r[2][0].Key) != "k" {
		t.Errorf("%+v", r)
	}
	if n := bytes.Count(kept, []byte{sdk.PoisonByte}); n != len("as it is") {
		t.Errorf("a view that was kept is %q", kept)
	}
	if got := Transform(t, upper, sdk.Record{Data: []byte("fail")}); got.Err == nil || got.Err.Message != "failed" || got.Records != nil {
		t.Errorf("%+v", got)
	}
}
