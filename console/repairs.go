package console

import "github.com/redstart-go/redstart/inspect"

// repairs are the POST paths of the pages.
var repairs = map[string]repair{
	"/caches/delete":     {page: "/caches", one: "The key was deleted.", do: repairKey((*inspect.Caches).Delete)},
	"/caches/expire":     {page: "/caches", one: "The value is stale now.", do: repairKey((*inspect.Caches).Expire)},
	"/caches/invalidate": {page: "/caches", one: "The tag was invalidated.", do: invalidateTag},
	"/caches/clear":      {page: "/caches", one: "The cache was cleared.", do: clearCache},
	"/events/redrive": {
		page: "/events", one: "The dead letter was redriven.", many: "%s dead letters were redriven.",
		do: letters((*inspect.Events).Redrive),
	},
	"/events/redrive-all": {
		page: "/events", one: "The dead letter was redriven.", many: "%s dead letters were redriven.",
		do: allLetters((*inspect.Events).RedriveAll),
	},
	"/events/drop": {
		page: "/events", one: "The dead letter was dropped.", many: "%s dead letters were dropped.",
		do: letters((*inspect.Events).Drop),
	},
	"/events/drop-all": {
		page: "/events", one: "The dead letter was dropped.", many: "%s dead letters were dropped.",
		do: allLetters((*inspect.Events).DropAll),
	},
	"/events/pause":      {page: "/events", one: "The group is paused.", do: oneGroup((*inspect.Events).Pause)},
	"/events/resume":     {page: "/events", one: "The group is resumed.", do: oneGroup((*inspect.Events).Resume)},
	"/events/drop-group": {page: "/events", one: "The group was dropped.", do: oneGroup(dropGroup)},
	"/sessions/revoke":   {page: "/sessions", one: "The session was revoked.", do: revokeSession},
	"/sessions/revoke-all": {
		page: "/sessions", one: "One session was revoked.", many: "%s sessions were revoked.", do: revokeUser,
	},
	"/idempotency/forget": {page: "/idempotency", one: "The result was forgotten: the key is free.", do: forgetKey},
	"/limits/reset":       {page: "/limits", one: "The limit was reset.", do: resetLimit},
	"/limits/end-permits": {page: "/limits", one: "The permits have ended.", do: endPermits},
	"/locks/break":        {page: "/locks", one: "The lock was broken.", many: "%s holds were broken.", do: breakLock},
}
