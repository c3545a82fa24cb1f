package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api"
)

func newStream(a *app) *cobra.Command {
	return group("stream", "Streams: create, update, list, describe, split, merge, resize, delete; put and tail records; damage",
		newStreamCreate(a), a.completing(newStreamUpdate(a), streamNames), newStreamList(a), a.completing(newStreamDescribe(a), streamNames),
		a.completing(newStreamDelete(a), streamNames), a.completing(newStreamPut(a), streamNames), a.completing(newStreamTail(a), streamNames),
		newStreamSplit(a), newStreamMerge(a), newStreamResize(a), newStreamDamage(a))
}

func newStreamCreate(a *app) *cobra.Command {
	var config api.StreamConfig
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a stream; the same again changes nothing",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, _, err := client.CreateStream(cmd.Context(), args[0], config)
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}
	countFlag(c.Flags(), &config.Shards, "shards", "1 to 1000", "how many shards (default 1)")
	textFlag(c.Flags(), &config.Retention, "retention", "duration", "1h to 365d", "how long records are kept (default 24h)")
	c.Flags().StringVar(&config.Mode, "mode", "", "who chooses the number of shards: provisioned (you, the default) or on-demand (the host, by the traffic)")
	c.Flags().StringVar(&config.Limits, "limits", "", "what a shard takes: none (what the hardware can, the default) or aws (1 MiB and 1,000 records a second)")
	c.Flags().StringToStringVar(&config.Tags, "tag", nil, "tag of the stream, KEY=VALUE; repeatable")
	textFlag(c.Flags(), &config.MaxRecord, "max-record", "size", "1KiB to 10MiB", "the largest data of one record (default 1MiB)")
	return c
}

func newStreamUpdate(a *app) *cobra.Command {
	var retention api.Duration
	var largest api.Size
	var mode, limits string
	var tags map[string]string
	var untag []string
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a stream's settings; those that are not given stay",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			var change api.StreamChange
			if cmd.Flags().Changed("retention") {
				change.Retention = &retention
			}
			if cmd.Flags().Changed("max-record") {
				change.MaxRecord = &largest
			}
			if cmd.Flags().Changed("mode") {
				change.Mode = &mode
			}
			if cmd.Flags().Changed("limits") {
				change.Limits = &limits
			}
			if cmd.Flags().NFlag() == countInherited(cmd) {
				return usagef("stream update needs at least one setting: --retention, --max-record, --mode, --limits, --tag or --untag")
			}
			change.SetTags, change.RemoveTags = tags, untag
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, err := client.UpdateStream(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}
	textFlag(c.Flags(), &retention, "retention", "duration", "1h to 365d", "how long records are kept; a shorter one takes effect at once")
	c.Flags().StringVar(&mode, "mode", "", "who chooses the number of shards: provisioned or on-demand; they stay as they are")
	c.Flags().StringVar(&limits, "limits", "", "what a shard takes: none or aws")
	c.Flags().StringToStringVar(&tags, "tag", nil, "tag to add or to give another value, KEY=VALUE; repeatable")
	c.Flags().StringSliceVar(&untag, "untag", nil, "key of a tag to remove; repeatable")
	textFlag(c.Flags(), &largest, "max-record", "size", "1KiB to 10MiB", "the largest data of one record; what is stored stays")
	return c
}

// countInherited is how many flags were given that all verbs have.
func countInherited(cmd *cobra.Command) (n int) {
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			n++
		}
	})
	return n
}

func newStreamList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the streams",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			streams, err := client.Streams(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, streams, []string{"NAME", "STATUS", "SHARDS>", "RETENTION>", "CREATED"}, func(s api.Stream) []string {
				return []string{s.Name, s.Status, strconv.Itoa(s.ShardCount), s.Retention.String(), shortTime(s.Created)}
			})
		},
	}
}

func newStreamDescribe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a stream and its shards",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, err := client.Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}
}

func (a *app) printStream(s api.Stream) error {
	err := a.printFields(s,
		[2]string{"Name", s.Name},
		[2]string{"Status", because(s.Status, s.Reason)},
		[2]string{"Created", shortTime(s.Created)},
		[2]string{"Retention", s.Retention.String()},
		[2]string{"Largest record", s.MaxRecord.String()},
		[2]string{"Mode", s.Mode},
		[2]string{"Shard limits", cmp.Or(s.Limits, "none")},
		[2]string{"Shards", strconv.Itoa(s.ShardCount)},
		[2]string{"Tags", joinOr(tagList(s.Tags), "none")},
	)
	if err != nil || a.output == outputJSON || len(s.Shards) == 0 {
		return err
	}
	t := newTable("SHARD", "STATE", "HASH KEYS>", "OLDEST>", "NEXT>", "LAST ARRIVAL", "PARENTS")
	for _, shard := range s.Shards {
		state := "open"
		if shard.Closed {
			state = "closed"
		}
		t.add(shard.ID, state, share(shard.StartHash, shard.EndHash), shard.Oldest.String(), shard.Next.String(), shortTime(shard.LastArrival), joinOr(shard.Parents, "-"))
	}
	fmt.Fprintln(a.out)
	return t.write(a.out)
}

// tagList is tags as KEY=VALUE, in the order of their keys.
func tagList(tags map[string]string) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, key+"="+tags[key])
	}
	return list
}

// share is how much of all hash keys a range has: 25.0%.
func share(start, end string) string {
	first, ok := new(big.Float).SetString(start)
	last, ok2 := new(big.Float).SetString(end)
	if !ok || !ok2 {
		return "-"
	}
	part, _ := new(big.Float).Quo(last.Sub(last, first), new(big.Float).SetMantExp(big.NewFloat(1), 128)).Float64()
	return fmt.Sprintf("%.1f%%", 100*part)
}

func newStreamDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a stream and all its records",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteStream(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("stream", args[0])
		},
	}
}

func newStreamDamage(a *app) *cobra.Command {
	list := &cobra.Command{
		Use:   "list NAME",
		Short: "List the damaged records of a stream",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			damage, err := client.Damage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printDamage(damage)
		},
	}
	accept := &cobra.Command{
		Use:   "accept NAME SHARD",
		Short: "Give up the damaged records of a shard, so that it is read on behind them; shows what is lost",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			lost, err := client.AcceptDamage(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.printDamage(lost)
		},
	}
	return group("damage", "Records that were stored and cannot be read: list them, give them up",
		a.completing(list, streamNames), a.completing(accept, streamNames))
}

func (a *app) printDamage(damage []api.Damage) error {
	if len(damage) == 0 && a.output == outputTable {
		_, err := fmt.Fprintln(a.out, "no damage")
		return err
	}
	return printItems(a, damage, []string{"SHARD", "FIRST>", "LAST>", "FILE", "OFFSET>", "REASON"}, func(d api.Damage) []string {
		return []string{d.Shard, d.First.String(), d.Last.String(), d.File, strconv.FormatInt(d.Offset, 10), d.Reason}
	})
}

// because is a state with its reason, when it has one.
func because(state, reason string) string {
	if reason == "" {
		return state
	}
	return state + " (" + printable(reason) + ")"
}

// printDeleted confirms that something is gone.
func (a *app) printDeleted(kind, name string) error {
	if a.output == outputJSON {
		return a.printJSON(map[string]string{"deleted": kind, "name": name})
	}
	_, err := fmt.Fprintf(a.out, "%s %s deleted\n", kind, name)
	return err
}

// clock is the time of day of a line that is followed.
func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }
