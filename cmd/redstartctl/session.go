package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// sessionCommand returns the verbs for sessions.
func (a *app) sessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "Sessions of users, by their public ids",
		Long: `No verb shows a token.

An id may begin with -. Write -- before it: redstartctl session show -- web ada -7dQ….

A manager with EncryptionKeys or a UserKey needs --keys: a JSON file with the keys by manager, as base64.
{"web": {"encryption": ["…"], "user": "…"}}`,
	}
	cmd.PersistentFlags().StringVar(&a.keysFile, "keys", "", "file with the keys of session managers")
	cmd.AddCommand(a.sessionManagers(), a.sessionList(), a.sessionShow(), a.sessionCount(), a.sessionRevoke())
	return cmd
}

func (a *app) sessionManagers() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "managers",
		Short: "List the session managers and stores that have a session",
		Args:  cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			managers, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.ManagerInfo], error) {
				return in.Sessions().Managers(ctx, p)
			})
			if err != nil {
				return err
			}
			managers = unique(managers)
			a.moreItems(more, limit)
			return a.print(managers, func() error {
				rows := [][]string{{"NAME"}}
				for _, m := range managers {
					rows = append(rows, []string{cell(m.Name)})
				}
				return a.table(rows)
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "most managers to list")
	return cmd
}

// unique returns the items without repetitions: two pages of a scan can have the same name.
func unique[T comparable](items []T) []T {
	seen, kept := map[T]bool{}, items[:0]
	for _, item := range items {
		if !seen[item] {
			seen[item] = true
			kept = append(kept, item)
		}
	}
	return kept
}

func (a *app) sessionList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list MANAGER USER",
		Short: "List the sessions and remember-me tokens of a user",
		Args:  cobra.ExactArgs(2),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			sessions, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.SessionInfo], error) {
				return in.Sessions().OfUser(ctx, args[0], args[1], p)
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			return a.print(sessions, func() error { return a.table(sessionRows(sessions)) })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "most sessions to list")
	return cmd
}

func sessionRows(sessions []inspect.SessionInfo) [][]string {
	rows := [][]string{{"ID", "KIND", "CREATED", "LAST SEEN", "EXPIRES", "ADDRESS", "DEVICE", "PROBLEM"}}
	for i := range sessions {
		s := &sessions[i]
		rows = append(rows, []string{cell(s.ID), s.Kind, when(s.Created), when(s.LastSeen), when(s.Expires),
			orDash(s.Address), orDash(s.UserAgent), printable(s.Problem)})
	}
	return rows
}

func (a *app) sessionShow() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "show MANAGER USER ID",
		Short: "Show one session, and its data with --data",
		Long: `The data belongs to the user: request it only if you may see it. JSON data is shown as it is, other data as a
quoted string.`,
		Args: cobra.ExactArgs(3),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			s, err := in.Sessions().Data(ctx, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			if !show {
				return a.print(s.SessionInfo, func() error { return a.table(sessionRows([]inspect.SessionInfo{s.SessionInfo})) })
			}
			return a.print(s, func() error {
				data := strconv.QuoteToGraphic(s.Data)
				if s.Codec == 1 && json.Valid([]byte(s.Data)) {
					data = lines(s.Data)
				}
				return a.fields("session", cell(s.ID), "kind", s.Kind, "created", when(s.Created), "last seen", when(s.LastSeen),
					"expires", when(s.Expires), "address", orDash(s.Address), "device", orDash(s.UserAgent),
					"bytes", strconv.Itoa(s.Bytes), "codec", strconv.Itoa(s.Codec), "data", data)
			})
		}),
	}
	cmd.Flags().BoolVar(&show, "data", false, "show the data")
	return cmd
}

func (a *app) sessionCount() *cobra.Command {
	return &cobra.Command{
		Use:   "count MANAGER",
		Short: "Count the sessions of a manager; it scans all keys of the server",
		Args:  cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			sum := inspect.SessionCount{Complete: true}
			for p := (inspect.Page{}); ; {
				c, err := in.Sessions().Count(ctx, args[0], p)
				if err != nil {
					return err
				}
				sum.Users += c.Users
				sum.Sessions += c.Sessions
				sum.Remembered += c.Remembered
				sum.Anonymous += c.Anonymous
				sum.Stored += c.Stored
				sum.Unknown += c.Unknown
				sum.Scanned += c.Scanned
				if p.Cursor = c.Next; p.Cursor == "" {
					break
				}
			}
			return a.print(sum, func() error {
				return a.fields("users", strconv.Itoa(sum.Users), "sessions", strconv.Itoa(sum.Sessions),
					"remember-me tokens", strconv.Itoa(sum.Remembered), "anonymous", strconv.Itoa(sum.Anonymous),
					"of a store", strconv.Itoa(sum.Stored), "unknown", strconv.Itoa(sum.Unknown))
			})
		}),
	}
}

func (a *app) sessionRevoke() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke MANAGER USER (ID | --all)",
		Short: "End one session of a user, or all of them",
		Args:  cobra.RangeArgs(2, 3),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			if all == (len(args) == 3) {
				return fmt.Errorf("session revoke: name one session by its id, or use --all")
			}
			if !all {
				if err := in.Sessions().Revoke(ctx, args[0], args[1], args[2]); err != nil {
					return err
				}
				return a.done(1, "sessions ended")
			}
			n, err := in.Sessions().RevokeAll(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.done(int64(n), "sessions ended")
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all sessions and remember-me tokens of the user")
	return cmd
}

// maxKeys bounds the file of --keys, in bytes.
const maxKeys = 1 << 20

// sessionKeys reads the file of --keys. Its errors contain nothing of the file.
func (a *app) sessionKeys() (map[string]inspect.SessionKeys, error) {
	if a.keysFile == "" {
		return nil, nil
	}
	info, err := os.Stat(a.keysFile)
	if err != nil {
		return nil, fmt.Errorf("--keys: %w", err)
	}
	if info.Size() > maxKeys {
		return nil, fmt.Errorf("--keys: the file has %d bytes, the limit is %d", info.Size(), maxKeys)
	}
	content, err := os.ReadFile(a.keysFile)
	if err != nil {
		return nil, fmt.Errorf("--keys: %w", err)
	}
	var stored map[string]struct {
		Encryption [][]byte `json:"encryption"`
		User       []byte   `json:"user"`
		Plaintext  bool     `json:"plaintext"`
	}
	if json.Unmarshal(content, &stored) != nil {
		return nil, fmt.Errorf(`--keys: the file is not of the form {"web": {"encryption": ["<base64>"], "user": "<base64>"}}`)
	}
	keys := make(map[string]inspect.SessionKeys, len(stored))
	for manager, k := range stored {
		keys[manager] = inspect.SessionKeys{Encryption: k.Encryption, User: k.User, Plaintext: k.Plaintext}
	}
	return keys, nil
}

// when returns a time for a table.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return cell(text)
}
