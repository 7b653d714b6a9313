package hub

// Refuse does what a node's refusal of a channel does. It reports whether the channel has a pending
// subscription.
func Refuse(h *Hub, name string, err error) (pending bool) {
	h.pubsub.mu.Lock()
	ch := h.channels[name]
	pending = ch != nil && len(ch.receivers) > 0 && ch.receivers[0].pending && ch.on != nil
	h.pubsub.mu.Unlock()
	if pending {
		ch.on.refuse(name, err)
	}
	return pending
}
