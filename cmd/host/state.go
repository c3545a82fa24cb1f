package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/triggers"
)

func newState(a *app) *cobra.Command {
	return group("state", "State tables that functions keep: list, delete", newStateList(a), a.completing(newStateDelete(a), tableNames))
}

func newStateList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the state tables that functions keep",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			tables, err := client.StateTables(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, tables, []string{"TABLE", "FUNCTION", "MAPPING", "SHARD>", "KEYS>", "SIZE>"}, func(t api.StateTable) []string {
				shard := "-"
				if t.Shard != nil {
					shard = strconv.FormatUint(uint64(*t.Shard), 10)
				}
				owner := cmp.Or(t.Function, "(shared)")
				return []string{t.Name, owner, cmp.Or(t.Mapping, "-"), shard, thousands(t.Keys), byteSize(t.Bytes)}
			})
		},
	}
}

func newStateDelete(a *app) *cobra.Command {
	var function string
	c := &cobra.Command{
		Use:   "delete TABLE",
		Short: "Delete what a state table holds: the shared one, or a function's own",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteState(cmd.Context(), args[0], function); err != nil {
				return err
			}
			return a.printDeleted("state table", args[0])
		},
	}
	c.Flags().StringVar(&function, "function", "", "the function whose own tables are meant, of all its mappings and shards (default: the shared table)")
	a.completingFlag(c, "function", functionNames)
	return c
}

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
