package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
)

// accountKey is the key that the account's settings are kept under.
const accountKey = "account"

// accountSettings is what is kept of the account, in JSON.
type accountSettings struct {
	Commitment commitment `json:"commitment"`
}

// commitment is the billing commitment that was asked for. There is no bill; it is kept and shown.
type commitment struct {
	Enabled   bool  `json:"enabled"`
	StartedAt int64 `json:"startedAt,omitempty"` // milliseconds since 1970
	EndedAt   int64 `json:"endedAt,omitempty"`
}

type commitmentInput struct {
	Status string `aws:"required;enum=ENABLED,DISABLED"`
}

type commitmentOutput struct {
	Status    string
	StartedAt instant `json:",omitzero"`
	EndedAt   instant `json:",omitzero"`
}

type accountOutput struct{ MinimumThroughputBillingCommitment commitmentOutput }

func (a accountSettings) output() accountOutput {
	out := commitmentOutput{"DISABLED", instant(a.Commitment.StartedAt), instant(a.Commitment.EndedAt)}
	if a.Commitment.Enabled {
		out.Status = "ENABLED"
	}
	return accountOutput{out}
}

// accountSettings reads the account's settings; the revision is 0 when none were kept yet.
func (c *call) accountSettings() (a accountSettings, revision uint64, err error) {
	entry, err := c.settings.Get(accountKey)
	if errors.Is(err, catalog.ErrNotFound) {
		return a, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(entry.Value, &a)
	}
	if err != nil {
		return a, 0, fmt.Errorf("aws: account settings: %w", err)
	}
	return a, entry.Revision, nil
}

func describeAccountSettings(c *call, _ *struct{}) (any, error) {
	a, _, err := c.accountSettings()
	return a.output(), err
}

type updateAccountInput struct {
	MinimumThroughputBillingCommitment commitmentInput `aws:"required"`
}

// updateAccountSettings keeps the commitment. Of two updates at once one is tried again.
func updateAccountSettings(c *call, in *updateAccountInput) (any, error) {
	for {
		a, revision, err := c.accountSettings()
		if err != nil {
			return nil, err
		}
		enabled := in.MinimumThroughputBillingCommitment.Status == "ENABLED"
		if now := time.Now().UnixMilli(); enabled && !a.Commitment.Enabled {
			a.Commitment = commitment{Enabled: true, StartedAt: now}
		} else if !enabled && a.Commitment.Enabled {
			a.Commitment.Enabled, a.Commitment.EndedAt = false, now
		}
		value, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		if revision == 0 {
			_, err = c.settings.Create(c.r.Context(), accountKey, value)
		} else {
			_, err = c.settings.Update(c.r.Context(), accountKey, value, revision)
		}
		if (errors.Is(err, catalog.ErrExists) || errors.Is(err, catalog.ErrConflict)) && c.r.Context().Err() == nil {
			continue
		}
		return a.output(), err
	}
}
