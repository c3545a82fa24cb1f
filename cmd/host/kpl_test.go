package main

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
)

// An aggregate that was put reaches a function as the user records in it.
func TestAggregateReachesFunction(t *testing.T) {
	t.Parallel()
	client := clientAt(t, "http://"+testHost(t).addr())
	prepareCrash(t, client)
	put := []api.PutRecord{
		{PartitionKey: "a", Data: aggregatetest.Encode(aggregatetest.User{Key: "x", Data: "1"}, aggregatetest.User{Key: "y", Data: "2"})},
		{PartitionKey: "a", Data: []byte("3")},
	}
	if _, err := client.Put(t.Context(), "in", put); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for r, err := range client.Records(ctx, "out", api.ReadOptions{Follow: true, Limit: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.PartitionKey+string(bytes.TrimSpace(r.Bytes())))
	}
	if want := []string{"x1", "y2", "a3"}; !slices.Equal(got, want) {
		t.Errorf("the function had %q, want %q", got, want)
	}
}
