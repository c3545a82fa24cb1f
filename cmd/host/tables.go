package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/state"
)

func newState(a *app) *cobra.Command {
	return group("state", "State tables of functions: list, get, put, load, delete",
		a.completing(newStateList(a), tableNames), a.completing(newStateGet(a), tableNames), a.completing(newStatePut(a), tableNames),
		a.completing(newStateLoad(a), tableNames), a.completing(newStateDelete(a), tableNames))
}

// ownerFlags are the flags that say which table of a name is meant.
func (a *app) ownerFlags(c *cobra.Command, t *api.StateOf) {
	c.Flags().StringVar(&t.Function, "function", "", "the function whose own table is meant (default: the shared table)")
	c.Flags().StringVar(&t.Mapping, "mapping", "", "with --function: the mapping that the table is for (default: that of direct invocations)")
	c.Flags().IntVar(&t.Shard, "shard", 0, "with --mapping: the number of the shard that the table is for")
	a.completingFlag(c, "function", functionNames)
}

func newStateList(a *app) *cobra.Command {
	var t api.StateOf
	var prefix string
	var limit int
	c := &cobra.Command{
		Use:   "list [TABLE]",
		Short: "List the state tables that functions keep, or the entries of one",
		Example: "  shardmill state list\n" +
			"  shardmill state list airports --prefix L --output json",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				t.Table = args[0]
				return a.printEntries(cmd.Context(), client, t, prefix, limit)
			}
			if t != (api.StateOf{}) || prefix != "" || limit != 0 {
				return usagef("--function, --mapping, --shard, --prefix and --limit go with TABLE")
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
	a.ownerFlags(c, &t)
	c.Flags().StringVar(&prefix, "prefix", "", "only entries whose keys begin with this")
	countFlag(c.Flags(), &limit, "limit", "1 or more", "show at most so many entries (default: all)")
	return c
}

// printEntries shows a table's entries as they come.
func (a *app) printEntries(ctx context.Context, client *api.Client, t api.StateOf, prefix string, limit int) error {
	n := 0
	for e, err := range client.StateEntries(ctx, t, prefix) {
		if err != nil {
			return err
		}
		if a.output == outputJSON {
			err = a.printJSON(e)
		} else {
			_, err = fmt.Fprintf(a.out, "%s  %s\n", printable(e.Name()), recordText(&api.Record{JSON: e.JSON, Text: e.Text, Data: e.Data}))
		}
		if n++; err != nil || n == limit {
			return err
		}
	}
	return nil
}

func newStateGet(a *app) *cobra.Command {
	var t api.StateOf
	c := &cobra.Command{
		Use:   "get TABLE KEY",
		Short: "Write the value of an entry to standard output",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			t.Table = args[0]
			value, revision, err := client.StateEntry(cmd.Context(), t, args[1])
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(map[string]any{"key": args[1], "revision": revision, "data": value})
			}
			if _, err := a.out.Write(value); err != nil || !a.outTerminal || len(value) == 0 || value[len(value)-1] == '\n' {
				return err
			}
			_, err = fmt.Fprintln(a.out)
			return err
		},
	}
	a.ownerFlags(c, &t)
	return c
}

func newStatePut(a *app) *cobra.Command {
	var t api.StateOf
	var file string
	expected := api.AnyRevision
	c := &cobra.Command{
		Use:   "put TABLE KEY [VALUE]",
		Short: "Put an entry, with VALUE or what a file or standard input has as its value",
		Example: "  shardmill state put airports LAX '{\"city\":\"Los Angeles\"}'\n" +
			"  shardmill state put models fraud --file model.bin",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("expected") && expected < 0 {
				return usagef("--expected is %d; it must be a revision, or 0 for an entry that must not be there", expected)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			value, err := a.readValue(file, args[2:])
			if err != nil {
				return err
			}
			t.Table = args[0]
			s, err := client.PutStateEntry(cmd.Context(), t, args[1], value, expected)
			if err != nil {
				return err
			}
			return a.printFields(s, [2]string{"Revision", strconv.FormatInt(s.Revision, 10)}, [2]string{"Size", byteSize(int64(s.Bytes))})
		},
	}
	a.ownerFlags(c, &t)
	c.Flags().StringVar(&file, "file", "", "file with the value; - is standard input")
	c.Flags().Int64Var(&expected, "expected", expected, "put it only if it has this revision, or with 0 only if it is not there (default: in any case)")
	c.Flags().Lookup("expected").DefValue = ""
	return c
}

// readValue is the argument, or what a file or standard input has.
func (a *app) readValue(file string, args []string) ([]byte, error) {
	switch {
	case len(args) > 0 && file != "":
		return nil, usagef("give VALUE or --file, not both")
	case len(args) > 0:
		return []byte(args[0]), nil
	}
	in, _, err := a.openInput(cmp.Or(file, "-"))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.LimitReader(in, state.MaxValueBytes+1)) // one more is over the limit, which the host tells
}

func newStateLoad(a *app) *cobra.Command {
	var t api.StateOf
	var file, key string
	c := &cobra.Command{
		Use:   "load TABLE",
		Short: "Put many entries: a file of JSON values, or of entries, one a line",
		Long: "Put many entries into a state table: with --key each line of the file is a value in JSON, and has its key at that field; without, each\n" +
			"line is an entry as \"state list TABLE --output json\" writes it. gzip is recognized. Entries that are there with the same key are\n" +
			"replaced, others stay. It is made durable in pieces: when it ends early, loading all again is safe.",
		Example: "  shardmill state load airports --file airports.ndjson --key iata\n" +
			"  shardmill state list airports --output json | shardmill state load airports-copy --file -",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("--file is needed: the entries, one a line; - is standard input")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			t.Table = args[0]
			l, err := a.loadState(cmd.Context(), client, t, file, key)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(l)
			}
			_, err = fmt.Fprintf(a.out, "%s loaded\n", plural(l.Loaded, "entry", "entries"))
			return err
		},
	}
	a.ownerFlags(c, &t)
	c.Flags().StringVar(&file, "file", "", "file of values or entries, one a line; - is standard input")
	c.Flags().StringVar(&key, "key", "", "field of each line that is its key, or a JSON pointer such as /codes/iata")
	return c
}

func (a *app) loadState(ctx context.Context, client *api.Client, t api.StateOf, file, key string) (l api.LoadedEntries, err error) {
	in, size, err := a.openInput(file)
	if err != nil {
		return l, err
	}
	defer in.Close()
	bar := a.newByteProgress("load "+t.Table, size)
	defer bar.done()
	lines, err := gunzip(bar.reader(in))
	if err != nil {
		return l, fmt.Errorf("%s: %w", file, err)
	}
	watched := &readError{r: lines}
	l, err = client.LoadState(ctx, t, keyPointer(key), watched)
	if watched.err != nil { // the reason why the request broke off, rather than that it did
		return l, fmt.Errorf("%s: %w", file, watched.err)
	}
	return l, err
}

func newStateDelete(a *app) *cobra.Command {
	var t api.StateOf
	c := &cobra.Command{
		Use:   "delete TABLE [KEY]",
		Short: "Delete an entry, or all that a state table holds: the shared one, or a function's own",
		Long: "Delete an entry of a state table. Without KEY, delete what the table holds: the shared one, or with --function all that the function has of that\n" +
			"name, for all its mappings and shards.",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (t.Mapping != "" || t.Shard != 0) {
				return usagef("--mapping and --shard go with KEY: without it all tables of the function are emptied")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if t.Table = args[0]; len(args) == 2 {
				if err := client.DeleteStateEntry(cmd.Context(), t, args[1], api.AnyRevision); err != nil {
					return err
				}
				return a.printDeleted("entry", args[1])
			}
			if err := client.DeleteState(cmd.Context(), t.Table, t.Function); err != nil {
				return err
			}
			return a.printDeleted("state table", t.Table)
		},
	}
	a.ownerFlags(c, &t)
	return c
}
