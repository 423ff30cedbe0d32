// Adds the words of the screens beyond Create. A screen that uses them imports this file.
import { enDesk } from "./en-desk";
import { addWords } from "./index";

addWords(enDesk);
