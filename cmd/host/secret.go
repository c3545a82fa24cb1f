package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/secrets"
	"github.com/shardmill/shardmill/runtime"
)

func newSecret(a *app) *cobra.Command {
	return group("secret", "Secrets that functions may read: set, list, delete",
		a.completing(newSecretSet(a), secretNames), newSecretList(a), a.completing(newSecretDelete(a), secretNames))
}

func newSecretSet(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Set a secret's value, from standard input or a file",
		Long: "Set a secret's value: what standard input has, without one line break at its end, or a file as it is. On a\n" +
			"terminal it is asked for and not shown. Functions that may read it have the new value from then on. A value is\n" +
			"stored encrypted, and never shown again.",
		Example: "printf %s \"$TOKEN\" | shardmill secret set token\n" +
			"shardmill secret set client-key --file client.pem",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			value, err := a.readSecret(args[0], file)
			if err != nil {
				return err
			}
			s, _, err := client.SetSecret(cmd.Context(), args[0], value)
			if err != nil {
				return err
			}
			return a.printFields(s, [2]string{"Name", s.Name}, [2]string{"Created", shortTime(s.Created)}, [2]string{"Set", shortTime(s.Modified)})
		},
	}
	c.Flags().StringVar(&file, "file", "", "file with the value; - is standard input")
	return c
}

// readSecret reads a value from where the command line says. It is in no error.
func (a *app) readSecret(name, file string) ([]byte, error) {
	if file != "" && file != "-" {
		return os.ReadFile(file)
	}
	if in, ok := a.in.(*os.File); ok && file == "" && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(a.err, "Value of %s (it is not shown): ", name)
		defer fmt.Fprintln(a.err)
		return term.ReadPassword(int(in.Fd()))
	}
	value, err := io.ReadAll(io.LimitReader(a.in, secrets.MaxValueBytes+3)) // one more is over the limit, which the host tells
	if cut, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		value = bytes.TrimSuffix(cut, []byte("\r"))
	}
	return value, err
}

func newSecretList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the secrets, without their values",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			list, err := client.Secrets(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, list, []string{"NAME", "CREATED", "SET"}, func(s api.Secret) []string {
				return []string{s.Name, shortTime(s.Created), shortTime(s.Modified)}
			})
		},
	}
}

func newSecretDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a secret; functions that may read it find none from then on",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteSecret(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("secret", args[0])
		},
	}
}

// openSecrets opens what is stored of secrets.
func (h *host) openSecrets(ctx context.Context) error {
	table, err := h.catalog.Table(ctx, "secrets")
	if err != nil {
		return err
	}
	h.secrets, err = secrets.Open(secrets.Options{
		Table: table, KeyFile: cmp.Or(h.config.secretsKey, h.dir.secretsKey()), MakeKey: h.config.secretsKey == "",
		Logger: h.config.logger.With("part", "secrets"),
	})
	return err
}

// readSecrets are the host's secrets as functions read them.
type readSecrets struct{ store *secrets.Store }

// Secret does not block.
func (r readSecrets) Secret(_ context.Context, name string) ([]byte, error) {
	value, err := r.store.Value(name)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil, runtime.ErrNoSecret
	}
	return value, err
}
