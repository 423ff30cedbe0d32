-- no-transaction
create index concurrently stripe_event_dead on stripe_event (received_ms, id) where state = 'dead';
