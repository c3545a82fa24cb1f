package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/field"
)

func newStreamSplit(a *app) *cobra.Command {
	var at string
	c := a.reshaping("split NAME SHARD", "Close a shard and open two in its place, while records are put and read",
		func(ctx context.Context, client *api.Client, args []string) (api.Stream, error) {
			return client.SplitShard(ctx, args[0], args[1], at)
		})
	c.Flags().StringVar(&at, "at", "", "first hash key of the upper of the two new shards (default: the middle)")
	return c
}

func newStreamMerge(a *app) *cobra.Command {
	return a.reshaping("merge NAME SHARD ADJACENT", "Close two shards whose hash keys are side by side and open one in their place",
		func(ctx context.Context, client *api.Client, args []string) (api.Stream, error) {
			return client.MergeShards(ctx, args[0], args[1], args[2])
		})
}

func newStreamResize(a *app) *cobra.Command {
	return a.reshaping("resize NAME SHARDS", "Give a stream another number of shards, of equal ranges, while records are put and read",
		func(ctx context.Context, client *api.Client, args []string) (api.Stream, error) {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 1 {
				return api.Stream{}, usagef("SHARDS is %s; it must be 1 to 1000", field.Shown(args[1]))
			}
			return client.ResizeStream(ctx, args[0], n)
		})
}

// reshaping is a verb that changes a stream's shards and shows the stream as it is then.
func (a *app) reshaping(use, short string, change func(context.Context, *api.Client, []string) (api.Stream, error)) *cobra.Command {
	return a.completing(&cobra.Command{
		Use:   use,
		Short: short,
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, err := change(cmd.Context(), client, args)
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}, streamNames)
}
