package tidegate.peers;

import com.fasterxml.jackson.annotation.JsonProperty;

/** A watch event, as it comes. */
public record Watch(
        @JsonProperty("user_id") String user,
        @JsonProperty("category") String category,
        @JsonProperty("timestamp") long timestamp,
        @JsonProperty("engagement") double engagement) {}
