// Alerts posts strong earthquakes to a webhook.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/shardmill/shardmill/sdk"
)

func init() { sdk.OnBatch(alerts) }

func main() {}

// alert is what the webhook is sent.
type alert struct {
	ID        string  `json:"id"`
	Text      string  `json:"text"`
	Magnitude float64 `json:"magnitude"`
}

func alerts(ctx context.Context, b *sdk.Batch) error {
	least, err := strconv.ParseFloat(os.Getenv("MAGNITUDE"), 64)
	if err != nil {
		return fmt.Errorf("MAGNITUDE: %w", err)
	}
	for i, r := range b.All() {
		var quake struct {
			ID    string
			Title string
			Mag   float64
		}
		if err := json.Unmarshal(r.Data, &quake); err != nil || quake.ID == "" {
			b.Reject(i, "not an earthquake")
			continue
		}
		if quake.Mag < least {
			continue
		}
		if err := tell(ctx, b, i, alert{quake.ID, quake.Title, quake.Mag}); err != nil {
			return err
		}
	}
	return nil
}

// tell posts one alert and says what became of its record.
func tell(ctx context.Context, b *sdk.Batch, i int, a alert) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	answer, err := sdk.Fetch(ctx, &sdk.Request{
		Method: "POST", URL: os.Getenv("WEBHOOK"), Body: body,
		Header: []sdk.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Idempotency-Key", Value: a.ID}},
	})
	switch {
	case errors.Is(err, sdk.ErrUnavailable):
		b.Retry(i, "the webhook does not answer")
	case err != nil:
		return err
	case answer.Status == 429 || answer.Status >= 500:
		b.Retry(i, fmt.Sprint("the webhook answers ", answer.Status))
	case answer.Status/100 != 2:
		b.Reject(i, fmt.Sprint("the webhook answers ", answer.Status))
	}
	return nil
}
