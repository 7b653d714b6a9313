package events

import (
	"fmt"
	"regexp"
	"strings"
)

// outboxNames are the names of an outbox in the database. They are quoted for statements, so
// reserved words such as "order" are allowed, and PostgreSQL does not fold the case.
type outboxNames struct {
	text    string // the name from the user, for errors and logs
	rows    string // the table of rows
	relay   string // the table of the relay's lease
	index   string // as CREATE INDEX names it
	indexed string // the table of rows, as CREATE INDEX names it
	notify  string // PostgreSQL: the function
	trigger string // PostgreSQL: the trigger
	channel string // PostgreSQL: the channel of notifications
}

const (
	defaultOutbox = "outbox"
	channelPrefix = "redstart_"
	// PostgreSQL cuts identifiers after 63 bytes and refuses notifications to longer channels. The
	// name of the channel is the longest name.
	maxTableName  = 63 - len(channelPrefix)
	tableNameRule = "letters, digits and _ with at most one dot, between schema and table; " +
		"the schema and the table begin with a letter or _"
)

var tableName = regexp.MustCompile(`^(?:([A-Za-z_][A-Za-z0-9_]*)\.)?([A-Za-z_][A-Za-z0-9_]*)$`)

// outbox returns the names of an outbox for a table name. The name "" is the default. The error
// describes valid names.
func (d Dialect) outbox(table string) (outboxNames, error) {
	table = orDefault(table, defaultOutbox)
	parts := tableName.FindStringSubmatch(table)
	switch {
	case parts == nil:
		return outboxNames{}, fmt.Errorf("%q is not a table name: want %s", table, tableNameRule)
	case len(table) > maxTableName:
		return outboxNames{}, fmt.Errorf("%q has %d bytes, the limit is %d", table, len(table), maxTableName)
	}

	schema, name := parts[1], parts[2]
	in := func(name string) string {
		if schema == "" {
			return d.quoted(name)
		}
		return d.quoted(schema) + "." + d.quoted(name)
	}
	names := outboxNames{
		text: table, rows: in(name), relay: in(name + "_relay"),
		index: d.quoted(name + "_waiting"), indexed: in(name),
		notify: in(name + "_notify"), trigger: d.quoted(name + "_notify"),
		channel: channelPrefix + strings.ReplaceAll(table, ".", "_"),
	}
	if d == SQLite { // SQLite: the index has the schema, and the table must not have one
		names.index, names.indexed = in(name+"_waiting"), d.quoted(name)
	}
	return names, nil
}

// quoted returns an identifier in quotes. The identifier itself has no quotes.
func (d Dialect) quoted(identifier string) string {
	if d == MySQL {
		return "`" + identifier + "`"
	}
	return `"` + identifier + `"`
}
