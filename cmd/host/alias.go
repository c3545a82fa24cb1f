package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

func newFunctionAlias(a *app) *cobra.Command {
	return group("alias", "Names for versions: set, delete",
		a.completing(newAliasSet(a), functionNames), a.completing(newAliasDelete(a), functionNames))
}

func newAliasSet(a *app) *cobra.Command {
	var config api.AliasConfig
	c := &cobra.Command{
		Use:   "set FUNCTION ALIAS",
		Short: "Make or change an alias: a name for a version, or for two that share the calls",
		Long: "Make or change an alias. Calls of it go to --version (by default the newest, whichever that is), and the share\n" +
			"of them that --share says to the --canary. What is not given is as in a new alias.",
		Example: "shardmill function alias set enrich prod --version 3\n" +
			"shardmill function alias set enrich prod --version 3 --canary 4 --share 0.1",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			alias, _, err := client.PutAlias(cmd.Context(), args[0], args[1], config)
			if err != nil {
				return err
			}
			return a.printFields(alias,
				[2]string{"Name", alias.Name},
				[2]string{"Leads to", leadsTo(&alias)},
				[2]string{"Description", alias.Description},
			)
		},
	}
	countFlag(c.Flags(), &config.Version, "version", "1 or more", "the version it leads to (default: the newest)")
	countFlag(c.Flags(), &config.Canary, "canary", "1 or more", "a second version, which has a share of the calls")
	c.Flags().Var(&fraction{&config.Share}, "share", "the part of the calls that the canary has, 0 to 1")
	c.Flags().StringVar(&config.Description, "description", "", "what it is for, at most 256 bytes")
	return c
}

// leadsTo says where calls of an alias go.
func leadsTo(a *api.Alias) string {
	if a.Version == 0 {
		return "the newest version"
	}
	if a.Canary == 0 {
		return fmt.Sprintf("version %d", a.Version)
	}
	return fmt.Sprintf("version %d, and %s %% of the calls to version %d", a.Version, strconv.FormatFloat(100*a.Share, 'g', 4, 64), a.Canary)
}

// fraction is a flag of 0 to 1.
type fraction struct{ value *float64 }

func (s *fraction) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n <= 1) {
		return errors.New("0 to 1")
	}
	*s.value = n
	return nil
}

func (s *fraction) Type() string { return "share" }
func (s *fraction) String() string {
	if s.value == nil || *s.value == 0 {
		return ""
	}
	return strconv.FormatFloat(*s.value, 'g', -1, 64)
}

func newAliasDelete(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "delete FUNCTION ALIAS",
		Short: "Delete an alias",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteAlias(cmd.Context(), args[0], args[1], force); err != nil {
				return err
			}
			return a.printDeleted("alias", args[1])
		},
	}
	forceFlag(c, &force)
	return c
}

func forceFlag(c *cobra.Command, force *bool) {
	c.Flags().BoolVar(force, "force", false, "delete it even where a mapping uses it")
}

func newFunctionRollback(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME VERSION",
		Short: "Make the code and settings of an older version the newest version again",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			to, err := strconv.Atoi(args[1])
			if err != nil || to < 1 {
				return usagef("VERSION is %q; it must be the number of an older version", args[1])
			}
			f, err := client.Rollback(cmd.Context(), args[0], to)
			if err != nil {
				return err
			}
			return a.printFunction(f)
		},
	}
}

func newFunctionReserve(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reserve NAME CALLS",
		Short: `Bound the calls of a function that run at once, over all versions; 0 stops it, "none" takes the bound away`,
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var calls *int
			if args[1] != "none" {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 0 || n > 1000 {
					return usagef(`CALLS is %q; it must be 0 to 1000, or none`, args[1])
				}
				calls = &n
			}
			f, err := client.Reserve(cmd.Context(), args[0], calls)
			if err != nil {
				return err
			}
			return a.printFunction(f)
		},
	}
}

// downloaded is what `function download` shows.
type downloaded struct {
	File   string `json:"file"`
	Bytes  int    `json:"bytes"`
	Digest string `json:"digest"`
}

// writeCode writes a file, and over one that is there only where that is asked for: under the name of a function there may be its source.
func writeCode(file string, code []byte, over bool) error {
	if over {
		return os.WriteFile(file, code, 0o644)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; -o %[1]s writes over it", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(code)
	return errors.Join(err, f.Close())
}

func newFunctionDownload(a *app) *cobra.Command {
	var version int
	var out string
	c := &cobra.Command{
		Use:   "download NAME",
		Short: "Write a function's code, as it was uploaded, to a file",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			code, err := client.Code(cmd.Context(), args[0], version)
			if err != nil {
				return err
			}
			file := cmp.Or(out, args[0]+extensionOf(code.Language))
			if err := writeCode(file, code.Bytes, out != ""); err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(downloaded{File: file, Bytes: len(code.Bytes), Digest: code.Digest})
			}
			_, err = fmt.Fprintf(a.out, "wrote %s (%s, %s)\n", file, byteSize(int64(len(code.Bytes))), code.Digest)
			return err
		},
	}
	countFlag(c.Flags(), &version, "version", "1 or more", "which version's module (default: the newest)")
	c.Flags().StringVarP(&out, "out", "o", "", "file to write (default: the function's name with .wasm, .js or .ts, where there is no such file)")
	return c
}
