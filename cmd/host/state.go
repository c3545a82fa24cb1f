package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/triggers"
)

// openState opens what functions keep.
func (h *host) openState(metrics prometheus.Registerer) (err error) {
	h.state, err = state.Open(state.Options{
		Dir: h.dir.state(), TotalBytes: int64(h.config.stateTotal), TableBytes: int64(h.config.stateTable),
		Logger: h.config.logger.With("part", "state"), Registerer: metrics,
	})
	if err != nil {
		return err
	}
	h.onStop(func(context.Context) error { return h.state.Close() })
	h.daily("stored state of functions is damaged", h.state.Scrub)
	return nil
}

// mappings are the host's mappings, whose functions' own state goes when they are deleted.
type mappings struct {
	*triggers.Triggers
	state *state.Store
}

// Delete deletes a mapping with its checkpoints, and then the state that its function has kept for it.
func (m mappings) Delete(ctx context.Context, name string) error {
	if err := m.Triggers.Delete(ctx, name); err != nil {
		return err
	}
	_, err := m.state.Drop(func(t state.Table) bool { return !t.Shared && t.Mapping == name })
	return err
}
