package main

import (
	"cmp"
	"maps"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api"
)

func newMapping(a *app) *cobra.Command {
	return group("mapping", "Event source mappings: what drives a function from a stream",
		newMappingCreate(a), a.completing(newMappingUpdate(a), mappingNames), newMappingList(a),
		a.completing(newMappingDescribe(a), mappingNames), a.completing(newMappingPause(a), mappingNames),
		a.completing(newMappingResume(a), mappingNames), a.completing(newMappingSeek(a), mappingNames),
		newMappingShadow(a), a.completing(newMappingPromote(a), mappingNames),
		a.completing(newMappingDelete(a), mappingNames))
}

// mappingFlags are the settings that can be given at creation and changed later.
func mappingFlags(flags *pflag.FlagSet, config *api.MappingConfig) {
	flags.StringVar(&config.Function, "function", "", "the function to call")
	countFlag(flags, &config.BatchSize, "batch-size", "1 to 10000 records", "the most records of one call (default 100)")
	textFlag(flags, &config.BatchWindow, "batch-window", "duration", "", "how long to wait for a batch to fill, 0s to 5m")
	flags.IntVar(&config.MaxAttempts, "max-attempts", 0, "how often a batch is tried, 1 to 10001; 0 is without limit")
	textFlag(flags, &config.MaxRecordAge, "max-record-age", "duration", "", "the age at which records are given up, 60s to 7d; 0s is without limit")
	config.Deaggregate = flags.Bool("deaggregate", true, "hand over the user records of KPL-aggregated records; false: the aggregates as they are stored")
	countFlag(flags, &config.Parallelization, "parallelization", "1 to 10 lanes", "how many batches of a shard run side by side; keys keep their order (default 1)")
	textFlag(flags, &config.TumblingWindow, "tumbling-window", "duration", "", "the length of windows with a state that goes from call to call, 1s to 15m; 0s is none")
	flags.BoolVar(&config.ReportItemFailures, "report-item-failures", false, "honour batchItemFailures of functions that take Lambda's event")
	flags.StringArrayVar(&config.Filters, "filter", nil, "event pattern: call the function only for records that match one; repeatable, up to 10, \"\" removes them")
	flags.BoolVar(&config.Bisect, "bisect", false, "halve a batch that fails, and deliver the halves one after the other")
	flags.BoolVar(&config.Isolate, "isolate", false, "look for the one record of a batch that fails at once; it alone is tried again and given up")
	flags.BoolVar(&config.ExactlyOnce, "exactly-once", false, "put what the function emits into streams once, also after a crash")
	flags.StringVar(&config.OnFailure, "on-failure", "", "where records that are given up are stored: stream:NAME, s3://bucket/prefix, https://host/path or file:///folder")
	config.FailureTrace = flags.Bool("failure-trace", true, "store with them how the function failed, with its stack; false: documents as AWS Lambda's")
	flags.StringVar(&config.Qualifier, "qualifier", "", "the version of the function: its number, or an alias (default $LATEST)")
	flags.BoolVar(&config.EventCounts, "event-counts", false, "count the events of each shard as metrics")
	config.Capsules = new(api.CapsuleConfig)
	flags.BoolVar(&config.Capsules.Failed, "keep-failed", false, "keep invocations that fail as capsules, to be made again with \"shardmill replay\"")
	textFlag(flags, &config.Capsules.Slow, "keep-slow", "duration", "", "keep invocations that take longer, 1ms to 15m; 0s keeps none")
	flags.Var(&fraction{&config.Capsules.Sample}, "keep-sample", "keep this part of all other invocations, 0 to 1")
	flags.StringToStringVar(&config.Tags, "tag", nil, "tag of the mapping, KEY=VALUE; repeatable")
}

// patterns are those of --filter, of which an empty one means none.
func patterns(given []string) []string {
	if len(given) == 1 && given[0] == "" {
		return nil
	}
	return given
}

func newMappingCreate(a *app) *cobra.Command {
	var config api.MappingConfig
	var startingTime string
	var disabled bool
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Drive a function from a stream; the same again changes nothing",
		Example: "  shardmill mapping create flight-delays --stream flights --function delays",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if config.Stream == "" || config.Function == "" {
				return usagef("a mapping needs --stream and --function")
			}
			if startingTime != "" {
				t, err := parseWhen(startingTime, time.Now())
				if err != nil {
					return err
				}
				config.StartingTime = t
				if config.StartingPosition == "" {
					config.StartingPosition = "timestamp"
				}
			}
			config.Filters = patterns(config.Filters)
			client, err := a.client()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("disabled") {
				config.Disabled = &disabled
			}
			m, _, err := client.PutMapping(cmd.Context(), args[0], config)
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
	flags := c.Flags()
	flags.StringVar(&config.Stream, "stream", "", "the stream to read")
	mappingFlags(flags, &config)
	flags.StringVar(&config.Consumer, "consumer", "", "the registered consumer of the stream to read as")
	flags.BoolVar(&disabled, "disabled", false, "make it paused; mapping resume starts it (default: one that is there stays paused or running)")
	flags.StringVar(&config.StartingPosition, "starting-position", "", "where to begin: oldest, newest or timestamp (default oldest)")
	flags.StringVar(&startingTime, "starting-time", "", "begin with records that arrived at a time (2026-01-02T15:04:05Z) or so long ago (15m)")
	a.completingFlag(c, "stream", streamNames)
	a.completingFlag(c, "function", functionNames)
	return c
}

func newMappingUpdate(a *app) *cobra.Command {
	var config api.MappingConfig
	var untag []string
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change settings of a mapping; its checkpoints stay",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == countInherited(cmd) {
				return usagef("give at least one setting to change")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.UpdateMapping(cmd.Context(), args[0], func(next *api.MappingConfig) error {
				changeMapping(cmd.Flags(), &config, next)
				for _, key := range untag {
					delete(next.Tags, key)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
	mappingFlags(c.Flags(), &config)
	c.Flags().Lookup("tag").Usage = "tag to add or to give another value, KEY=VALUE; repeatable"
	c.Flags().StringSliceVar(&untag, "untag", nil, "key of a tag to remove; repeatable")
	a.completingFlag(c, "function", functionNames)
	return c
}

// changeMapping sets the settings of next that were given as flags to those of config.
func changeMapping(flags *pflag.FlagSet, config, next *api.MappingConfig) {
	change := func(flag string, set func()) {
		if flags.Changed(flag) {
			set()
		}
	}
	change("function", func() { next.Function = config.Function })
	change("batch-size", func() { next.BatchSize = config.BatchSize })
	change("batch-window", func() { next.BatchWindow = config.BatchWindow })
	change("max-attempts", func() { next.MaxAttempts = config.MaxAttempts })
	change("max-record-age", func() { next.MaxRecordAge = config.MaxRecordAge })
	change("deaggregate", func() { next.Deaggregate = config.Deaggregate })
	change("parallelization", func() { next.Parallelization = config.Parallelization })
	change("tumbling-window", func() { next.TumblingWindow = config.TumblingWindow })
	change("report-item-failures", func() { next.ReportItemFailures = config.ReportItemFailures })
	change("filter", func() { next.Filters = patterns(config.Filters) })
	change("bisect", func() { next.Bisect = config.Bisect })
	kept := api.CapsuleConfig{}
	if next.Capsules != nil {
		kept = *next.Capsules
	}
	next.Capsules = &kept
	change("keep-failed", func() { kept.Failed = config.Capsules.Failed })
	change("keep-slow", func() { kept.Slow = config.Capsules.Slow })
	change("keep-sample", func() { kept.Sample = config.Capsules.Sample })
	change("isolate", func() { next.Isolate = config.Isolate })
	change("exactly-once", func() { next.ExactlyOnce = config.ExactlyOnce })
	change("on-failure", func() { next.OnFailure = config.OnFailure })
	change("failure-trace", func() { next.FailureTrace = config.FailureTrace })
	change("qualifier", func() { next.Qualifier = config.Qualifier })
	change("event-counts", func() { next.EventCounts = config.EventCounts })
	change("tag", func() {
		tags := maps.Clone(next.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		maps.Copy(tags, config.Tags)
		next.Tags = tags
	})
}

func newMappingList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the mappings",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			mappings, err := client.Mappings(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, mappings, []string{"NAME", "STREAM", "FUNCTION", "BATCH SIZE>", "STATE", "LAST RESULT"}, func(m api.Mapping) []string {
				return []string{m.Name, m.Stream, m.Function, strconv.Itoa(m.BatchSize), m.State, m.LastResult}
			})
		},
	}
}

func newMappingDescribe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a mapping and how far it is in each shard",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.Mapping(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
}

func (a *app) printMapping(m api.Mapping) error {
	attempts := "without limit"
	if m.MaxAttempts > 0 {
		attempts = strconv.Itoa(m.MaxAttempts)
	}
	age := "without limit"
	if m.MaxRecordAge > 0 {
		age = m.MaxRecordAge.String()
	}
	aggregates := "taken apart"
	if m.Deaggregate != nil && !*m.Deaggregate {
		aggregates = "as they are stored"
	}
	fields := [][2]string{
		{"Name", m.Name},
		{"State", because(m.State, m.Reason)},
		{"Stream", m.Stream},
		{"Function", because(m.Function, m.Qualifier)},
		{"Batch size", strconv.Itoa(m.BatchSize)},
		{"Batch window", m.BatchWindow.String()},
		{"Lanes", strconv.Itoa(max(1, m.Parallelization))},
		{"Tumbling window", windowOf(m.TumblingWindow)},
		{"Starts at", m.StartingPosition},
		{"Attempts", attempts},
		{"Record age", age},
		{"Aggregates", aggregates},
		{"Filters", joinOr(m.Filters, "none")},
		{"Emits", guaranteeOf(&m)},
		{"On failure", failureOf(&m)},
		{"Capsules", keptOf(m.Capsules)},
		{"Tags", joinOr(tagList(m.Tags), "none")},
		{"Shadow", shadowLine(m.Shadow)},
	}
	if m.Warning != "" {
		fields = append(fields, [2]string{"Warning", m.Warning})
	}
	err := a.printFields(m, fields...)
	if err != nil || a.output == outputJSON || len(m.Shards) == 0 {
		return err
	}
	t := newTable("SHARD", "STATE", "CHECKPOINT>", "ITERATOR AGE>", "INVOCATIONS>", "SETTLED>", "GIVEN UP>", "LAST RESULT", "LAST ERROR")
	for _, s := range m.Shards {
		checkpoint := "-"
		if s.Checkpoint != 0 {
			checkpoint = s.Checkpoint.String()
		}
		t.add(s.Shard, s.State, checkpoint, shortDuration(time.Duration(s.IteratorAge)),
			thousands(int64(s.Counts.Invocations)), thousands(int64(s.Counts.Settled)),
			thousands(int64(s.Counts.GivenUp)), cmp.Or(s.LastResult, "-"), printable(s.LastError))
	}
	if _, err := a.out.Write([]byte("\n")); err != nil {
		return err
	}
	return t.write(a.out)
}

func windowOf(length api.Duration) string {
	if length == 0 {
		return "none"
	}
	return length.String()
}

// guaranteeOf says how often what the function emits is put.
func guaranteeOf(m *api.Mapping) string {
	if m.ExactlyOnce {
		return "exactly once"
	}
	return "at least once"
}

// failureOf says what becomes of batches that fail.
func failureOf(m *api.Mapping) string {
	var list []string
	switch {
	case m.Isolate:
		list = append(list, "look for the record at once")
	case m.Bisect:
		list = append(list, "halve the batch")
	}
	if m.OnFailure != "" {
		list = append(list, "store in "+m.OnFailure)
		if m.FailureTrace != nil && !*m.FailureTrace {
			list = append(list, "without trace")
		}
	}
	return joinOr(list, "try again")
}

// keptOf says which invocations of a mapping are kept.
func keptOf(c *api.CapsuleConfig) string {
	var list []string
	if c != nil && c.Failed {
		list = append(list, "failed")
	}
	if c != nil && c.Slow > 0 {
		list = append(list, "slower than "+c.Slow.String())
	}
	if c != nil && c.Sample > 0 {
		list = append(list, strconv.FormatFloat(100*c.Sample, 'g', 4, 64)+" % of all")
	}
	return joinOr(list, "none")
}

func newMappingPause(a *app) *cobra.Command {
	return a.switching("pause NAME", "Stop a mapping when the batches under way are done; its checkpoints stay", true)
}

func newMappingResume(a *app) *cobra.Command {
	return a.switching("resume NAME", "Start a paused mapping where it was", false)
}

// switching is a verb that pauses a mapping or starts it again.
func (a *app) switching(use, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.UpdateMapping(cmd.Context(), args[0], func(next *api.MappingConfig) error {
				next.Disabled = &disabled
				return nil
			})
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
}

func newMappingSeek(a *app) *cobra.Command {
	var to, shard string
	c := &cobra.Command{
		Use:   "seek NAME",
		Short: "Move a mapping to another position: records are delivered again, or passed over",
		Example: "  shardmill mapping seek flight-delays --to oldest\n" +
			"  shardmill mapping seek flight-delays --to 15m\n" +
			"  shardmill mapping seek flight-delays --to 17592186044417 --shard shardId-000000000000",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := seekTarget(to, time.Now())
			if err != nil {
				return err
			}
			target.Shard = shard
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.SeekMapping(cmd.Context(), args[0], target)
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
	c.Flags().StringVar(&to, "to", "", "oldest, newest, a time (2026-01-02T15:04:05Z), so long ago (15m), or the sequence number to go on with, AWS's too")
	c.Flags().StringVar(&shard, "shard", "", "the shard to move (default: all; a sequence number that is not AWS's needs it)")
	return c
}

// seekTarget reads where --to goes.
func seekTarget(to string, now time.Time) (target api.SeekMapping, err error) {
	switch to {
	case "":
		return target, usagef("--to is needed: where to go on")
	case "oldest", "newest":
		target.Position = to
		return target, nil
	}
	if target.Sequence.UnmarshalText([]byte(to)) == nil {
		return target, nil
	}
	target.Position = "timestamp"
	target.Time, err = parseWhen(to, now)
	return target, err
}

func newMappingDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a mapping and its checkpoints",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteMapping(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("mapping", args[0])
		},
	}
}
