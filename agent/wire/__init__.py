"""What every key management protocol needs of a wire: endpoints, a bounded reader, tables that compile to layouts."""
