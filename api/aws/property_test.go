package aws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// wireRecord is a record in either protocol.
type wireRecord struct {
	Data           []byte
	PartitionKey   string
	SequenceNumber string
}

// wireDocument is what PutRecords, GetShardIterator and GetRecords answer.
type wireDocument struct {
	FailedRecordCount *int
	Records           []wireRecord
	ShardIterator     string
	NextShardIterator string
}

// protocolOf is a protocol with the libraries that speak it.
type protocolOf struct {
	media     string
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

var protocols = []protocolOf{{typeJSON, json.Marshal, json.Unmarshal}, {typeCBOR, cbor.Marshal, cbor.Unmarshal}}

func (p protocolOf) call(t testing.TB, h *Handler, operation string, in any) wireDocument {
	t.Helper()
	body := ok(p.marshal(in))(t)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(operation, p.media, body))
	var out wireDocument
	if err := p.unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s is answered %d %.200q: %v", operation, w.Code, w.Body, err)
	}
	return out
}

// TestPutAndGetAnything puts random records in one protocol and reads them in another: they are what they were, under the numbers
// that the put said.
func TestPutAndGetAnything(t *testing.T) {
	r := newRig(t)
	streams := 0
	rapid.Check(t, func(rt *rapid.T) {
		streams++
		name := r.stream(fmt.Sprint("s", streams), 1)
		putting, getting := rapid.SampledFrom(protocols).Draw(rt, "put"), rapid.SampledFrom(protocols).Draw(rt, "get")
		type entry struct {
			Data         []byte
			PartitionKey string
		}
		entries := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) entry {
			return entry{rapid.SliceOf(rapid.Byte()).Draw(rt, "data"), rapid.StringN(1, 256, -1).Draw(rt, "key")}
		}), 1, 20).Draw(rt, "records")
		for i := range entries {
			if entries[i].Data == nil {
				entries[i].Data = []byte{} // the libraries write null otherwise
			}
		}
		put := putting.call(t, r.handler, "PutRecords", map[string]any{"StreamName": name, "Records": entries})
		if put.FailedRecordCount == nil || *put.FailedRecordCount != 0 || len(put.Records) != len(entries) {
			rt.Fatalf("put: %+v", put)
		}
		it := getting.call(t, r.handler, "GetShardIterator", map[string]any{"StreamName": name, "ShardId": firstShard, "ShardIteratorType": "TRIM_HORIZON"})
		var got []wireRecord
		limit := rapid.IntRange(1, 25).Draw(rt, "limit")
		for next := it.ShardIterator; ; {
			page := getting.call(t, r.handler, "GetRecords", map[string]any{"ShardIterator": next, "Limit": limit})
			if len(page.Records) == 0 {
				break
			}
			if len(page.Records) > limit {
				rt.Fatalf("%d records with the limit %d", len(page.Records), limit)
			}
			got, next = append(got, page.Records...), page.NextShardIterator
		}
		if len(got) != len(entries) {
			rt.Fatalf("%d of %d records come back", len(got), len(entries))
		}
		for i, e := range entries {
			g := got[i]
			if g.PartitionKey != e.PartitionKey || string(g.Data) != string(e.Data) || g.SequenceNumber != put.Records[i].SequenceNumber {
				rt.Fatalf("record %d is %q %s as %s, want %q %s as %s", i, g.PartitionKey, base64.StdEncoding.EncodeToString(g.Data), g.SequenceNumber,
					e.PartitionKey, base64.StdEncoding.EncodeToString(e.Data), put.Records[i].SequenceNumber)
			}
		}
		r.must(r.store.Delete(r.ctx, name))
	})
}

// TestSubscriptionsComeAndGo has subscriptions begin and end at any time while records are put: each sees every record from where
// it began, once and in order.
func TestSubscriptionsComeAndGo(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	const readers, rounds, n = 6, 4, 400
	var arns []string
	for i := range readers {
		arns = append(arns, r.consumer(name, fmt.Sprint("c", i)))
	}
	var all sync.WaitGroup
	all.Go(func() {
		for i := range n {
			r.put(name, fmt.Sprint(i, "-"), 5)
		}
	})
	for i, arn := range arns {
		consumer := fmt.Sprint("c", i)
		all.Go(func() {
			for range rounds {
				s := r.subscribe(arn, firstShard, types.ShardIteratorTypeTrimHorizon)
				for i, got := range records(t, s, n) {
					if want := fmt.Sprint(i/5, "-", i%5); got != want {
						t.Errorf("record %d is %s, want %s", i, got, want)
						break
					}
				}
				s.Close()
				ended := func() bool {
					r.handler.subscriptions.mu.Lock()
					defer r.handler.subscriptions.mu.Unlock()
					for k := range r.handler.subscriptions.active {
						if k.consumer == consumer {
							return false
						}
					}
					return true
				}
				eventually(t, "ended", ended)
			}
		})
	}
	all.Wait()
}
