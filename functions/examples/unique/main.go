// Unique emits each earthquake of a feed once, however often the feed has it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

// keep is how long before the newest day ids are remembered, in days.
const keep = 7

const dayForm = "2006-01-02"

func init() { sdk.OnBatch(unique) }

func main() {}

// unique keeps the ids it has seen as keys of the form day/id, so that whole days can be forgotten.
func unique(ctx context.Context, b *sdk.Batch) error {
	seen := sdk.State(ctx, "seen")
	newest := ""
	for i, r := range b.All() {
		var quake struct {
			ID   string
			Time int64 // ms since the Unix epoch
		}
		if err := json.Unmarshal(r.Data, &quake); err != nil || quake.ID == "" || quake.Time == 0 {
			b.Reject(i, "not an earthquake")
			continue
		}
		day := time.UnixMilli(quake.Time).UTC().Format(dayForm)
		_, err := seen.CAS(day+"/"+quake.ID, nil, sdk.Absent)
		if errors.Is(err, sdk.ErrConflict) {
			b.Drop(i, "seen before")
			continue
		}
		if err != nil {
			return err
		}
		newest = max(newest, day)
		b.Emit("earthquakes", string(r.Key), r.Data)
	}
	return forget(seen, newest)
}

// forget deletes the ids of days that are long past, when a day begins.
func forget(seen *sdk.Table, newest string) error {
	before, err := seen.Get("newest")
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return err
	}
	if newest <= string(before.Value) {
		return nil
	}
	day, err := time.Parse(dayForm, newest)
	if err != nil {
		return fmt.Errorf("the newest day: %w", err)
	}
	oldest := day.AddDate(0, 0, -keep).Format(dayForm)
	for e, err := range seen.List("") {
		if err != nil {
			return err
		}
		if e.Key >= oldest {
			break
		}
		if err := seen.Delete(e.Key); err != nil {
			return err
		}
	}
	return seen.Put("newest", []byte(newest))
}
