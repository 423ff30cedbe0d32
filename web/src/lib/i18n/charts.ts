// Adds the words of the administrator's charts. They import this file.
import { enCharts } from "./en-charts";
import { addWords } from "./index";

addWords(enCharts);
